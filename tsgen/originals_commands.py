"""The command ``tsgen compare-original``. Heavy imports sit inside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tsgen.domains import DOMAINS

if TYPE_CHECKING:
    from tsgen.originals import Comparison
    from tsgen.originals.compare import Row, SetReport


@click.command("compare-original")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--clips", type=int, default=2000, show_default=True, help="Compare at most so many a set.")
@click.option("--digits", metavar="SOURCE", help="Digits of our clips, as for tsgen make. MNIST is what they used.")
@click.option("--domain", metavar="NAME", help=f"Of sets whose name does not say: {', '.join(DOMAINS)}.")
@click.option(
    "--keep", metavar="DIR", type=click.Path(path_type=Path), help="Keep the imported clip files in this new folder."
)
@click.option("--all", "all_rows", is_flag=True, help="Print the rows in which nothing differs, too.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def compare_original(
    folder: Path,
    clips: int,
    digits: str | None,
    domain: str | None,
    keep: Path | None,
    all_rows: bool,
    as_json: bool,
) -> None:
    """Say how the authors' frames in DIR differ from our profiles `paper` and `dataverse`.

    \b
    tsgen download --original --out ts-original
    tsgen compare-original ts-original --digits mnist

    Every set of frames found in DIR (folders or zip files with a table of labels) is imported, and as many clips of
    ours are made and sent through JPEG of the same quality. DIR may be any folder of published frames.
    """
    from tsgen.originals import compare_original

    result = compare_original(
        folder,
        clips=clips,
        digits=digits,
        domain=domain,
        keep=keep,
        say=lambda text: click.echo(text, err=True),
    )
    click.echo(json.dumps(result.to_json(), allow_nan=False) if as_json else report_text(result, all_rows))


def report_text(result: Comparison, all_rows: bool = False) -> str:
    """The comparison as text: a table a set, differing rows marked; ``all_rows`` shows the others, too."""
    lines = [text for one in result.sets for text in (_set_text(one, all_rows), "")]
    lines += [f"note: {note}" for note in result.notes]
    return "\n".join(lines).rstrip()


def _set_text(one: SetReport, all_rows: bool) -> str:
    from tsgen.audit.report import table_text

    profiles = list(one.rows[0].against)
    title = f"{one.name}: {one.clips} clips of {one.domain} ({one.split}), {one.compared} compared; {one.frames}"
    lines = [title + (f"; ours show digits of {one.digits}" if one.digits else "")]
    for profile in profiles:
        differing = one.differing(profile)
        lines.append(f"  profile {profile}: {len(differing)} of {len(one.rows)} rows differ")
    shown = [row for row in one.rows if all_rows or any(cell.differs for cell in row.against.values())]
    if shown:
        header = ("what", "clips of", "published", *(text for name in profiles for text in (name, "D", "")))
        lines.append(table_text(header, [_cells(row, profiles) for row in shown], left=len(header)))
        lines.append("  D: largest distance of the distribution functions, or of the shares, 0..1. !: beyond chance.")
    return "\n".join(lines)


def _cells(row: Row, profiles: list[str]) -> tuple[str, ...]:
    cells = [row.what, row.of, row.published]
    for profile in profiles:
        cell = row.against[profile]
        cells += [cell.value, "" if cell.distance != cell.distance else f"{cell.distance:.2f}", "!" * cell.differs]
    return tuple(cells)
