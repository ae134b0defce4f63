"""The tables of the paper as data, what can be recomputed from them, and its results as reference rows."""

from benchmark.paper.reference import ReferenceRow, reference_rows
from benchmark.paper.tables import TABLES, PaperTable, read_table

__all__ = ["TABLES", "PaperTable", "ReferenceRow", "read_table", "reference_rows"]
