"""``rac-bench report`` and ``rac-bench leaderboard``: what was found, as tables, figures, a page or a site."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark.submission_commands import truth_options
from tsgen.common.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmark.report.boards import Board

FORMATS = ("html", "md", "csv", "tex", "json")


@click.command("report")
@click.argument("directories", nargs=-1, required=True, metavar="RUNS...", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="File to write. [standard output]")
@click.option("--format", "form", help=f"One of {', '.join(FORMATS)}. [the suffix of --out, else md]")
@click.option("--figures", type=click.Path(path_type=Path), help="Also write the figures as SVG into this directory.")
@click.option("--png", is_flag=True, help="Figures as PNG too; needs rsvg-convert or Chromium.")
@truth_options
@click.option("--title", default="Robustness report", show_default=True, help="Of the page.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def report(
    directories: tuple[Path, ...],
    out: Path | None,
    form: str | None,
    figures: Path | None,
    png: bool,
    data: tuple[Path, ...],
    digits: str,
    allow_custom: bool,
    title: str,
    force: bool,
    as_json: bool,
) -> None:
    """Accuracy and rr with intervals of runs, sweeps, experiments and submissions, as one page, a table or figures.

    RUNS are directories of rac-bench run, sweep and predict, in any mixture. Those of run --experiment give tables and
    figures as the paper's for Diving48 as well. The page is one file that needs no network; the numbers are computed
    anew from the predictions.
    """
    chosen = _format(out, form, as_json)
    if png and figures is None:
        raise UsageError("--png is about figures; say where with --figures DIR.")
    from tsgen.common.files import check_output_file, write_text_atomic

    if out is not None:
        check_output_file(out, force)
    if png:
        from benchmark.report.export import find_converter

        find_converter()
    from benchmark.report.boards import boards_of
    from benchmark.report.entries import read_entries
    from benchmark.submission.truth import AnswerKeys

    boards = boards_of(read_entries(directories, AnswerKeys(data, digits=digits, allow_custom=allow_custom)))
    if figures is not None:
        _write_figures(boards, figures, png, force)
    if out is None:
        click.echo(_render(chosen, title, boards), nl=False)
        return
    write_text_atomic(out, _render(chosen, title, boards))
    click.echo(f"Written to {out}.", err=True)


@click.group("leaderboard")
def leaderboard() -> None:
    """Static pages that compare entries."""


@leaderboard.command("build")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Directory of the site.")
@truth_options
@click.option("--paper/--no-paper", default=True, show_default=True, help="With the paper's rows on Diving48.")
@click.option("--title", default="Robustness leaderboard", show_default=True, help="Of the pages.")
@click.option("--force", is_flag=True, help="Replace a leaderboard that exists.")
@click.option("--json", "as_json", is_flag=True, help="Print boards, entries and ranks as JSON.")
def build(
    directory: Path,
    out: Path,
    data: tuple[Path, ...],
    digits: str,
    allow_custom: bool,
    paper: bool,
    title: str,
    force: bool,
    as_json: bool,
) -> None:
    """Make a site of all entries in DIR: one subdirectory for each run, sweep, experiment or submission.

    index.html ranks the entries of each source domain, and each entry has a page and a JSON record. The site is static
    files: any web server shows it, and so does a browser without one.
    """
    from benchmark.report.boards import boards_of
    from benchmark.report.ranking import ranks_of
    from benchmark.report.site import build_site, check_site, read_directory, to_json
    from benchmark.submission.truth import AnswerKeys

    check_site(out, force)
    if out.resolve().is_relative_to(directory.resolve()) or directory.resolve().is_relative_to(out.resolve()):
        raise UsageError(f"--out {out} and {directory} lie in one another; give a directory beside it.")
    entries = read_directory(directory, AnswerKeys(data, digits=digits, allow_custom=allow_custom))
    build_site(entries, out, title=title, force=force, paper=paper)
    if as_json:
        boards = boards_of(entries)
        ranks = {key: place for board in boards for key, place in ranks_of(board).items()}
        click.echo(json.dumps(to_json(boards, ranks), indent=1))
    click.echo(f"{len(entries)} entries. Written to {out / 'index.html'}.", err=True)


def _format(out: Path | None, form: str | None, as_json: bool) -> str:
    if as_json:
        if form not in {None, "json"}:
            raise UsageError(f"--json and --format {form} are two answers to one question; give one.")
        return "json"
    chosen = form or (out.suffix.lower().removeprefix(".") if out and out.suffix else "md")
    if chosen not in FORMATS:
        raise unknown_name("format", chosen, FORMATS)
    return chosen


def _render(form: str, title: str, boards: Sequence[Board]) -> str:
    if form == "html":
        from benchmark.report.single import report_page

        return report_page(title, boards)
    if form == "json":
        from benchmark.report.tables import to_json

        return to_json(boards)
    from benchmark.report.tables import FORMATS as TABLES

    return TABLES[form](boards)


def _write_figures(boards: Sequence[Board], folder: Path, png: bool, force: bool) -> None:
    from benchmark.report.export import write_figures
    from benchmark.report.figures import figures_of
    from benchmark.report.style import styles_of

    styles = styles_of([entry for board in boards for entry in board.entries])
    figures = [each for board in boards for each in figures_of(board, styles)]
    paths = write_figures(figures, folder, png=png, force=force)
    click.echo(f"{len(paths)} figures in {folder}.", err=True)
