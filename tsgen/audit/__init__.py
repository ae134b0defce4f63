"""The shortcuts a clip file leaves open: what can be told about the class without looking at the order of frames.

``audit_files([path, ...])`` gives an :class:`Audit`; ``count_states(domain, n_train, n_val)`` the distinct clips a
domain can show. A classifier gives a lower bound: what it reaches, a model can reach too; what it misses, a model may
find.
"""

from __future__ import annotations

from tsgen.audit.duplicates import count_repeated_clips
from tsgen.audit.report import Audit, audit_files
from tsgen.audit.states import count_states

__all__ = ["Audit", "audit_files", "count_repeated_clips", "count_states"]
