"""The commands ``tsgen audit`` and ``tsgen states``. Heavy imports sit inside each command."""

from __future__ import annotations

import json
from pathlib import Path

import click

from tsgen.common.errors import UsageError, unknown_name
from tsgen.domainfile import resolve_domain
from tsgen.domains import DOMAINS

FAIL_ON: dict[str, tuple[str, ...]] = {
    "none": (),
    "promises": (),
    "static": ("static", "duplicates"),
    "any": ("static", "duplicates", "order-free"),
}
LEAKS_EXIT_CODE = 1


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--clips", "max_clips", type=int, default=5000, show_default=True, help="Fit on at most so many a file.")
@click.option("--no-reach", is_flag=True, help="Leave the classifiers out: duplicates, blanks and marginals alone.")
@click.option("--out", type=click.Path(path_type=Path), help="Draw the result to this PNG.")
@click.option("--force", is_flag=True, help="Replace an existing picture.")
@click.option(
    "--fail-on",
    default="none",
    show_default=True,
    metavar="LEAKS",
    help="Exit with code 1 on 'static' leaks (and duplicates across files), on 'any' leak, on broken 'promises' of the "
    "profile, or 'none'.",
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def audit(
    files: tuple[Path, ...],
    max_clips: int,
    no_reach: bool,
    out: Path | None,
    force: bool,
    fail_on: str,
    as_json: bool,
) -> None:
    """Measure the shortcuts each FILE leaves open, and the clips that later FILEs share with earlier ones.

    A leak is an accuracy whose 95 % interval lies more than 5 points above chance and majority, reached from one frame
    or no motion ("static"), or from all frames without their order ("order-free"); or more than 1 % of a class in an
    earlier file. The profiles strict and order promise that some rows tell nothing about the class: kept or broken is
    said at the end. It is told, not punished: the exit code is 0 unless --fail-on says otherwise. Give the training
    file first. Needs scikit-learn (pip install 'recur-attend-convolve[audit]') unless --no-reach.
    """
    if fail_on not in FAIL_ON:
        raise unknown_name("--fail-on", fail_on, FAIL_ON)
    from tsgen.audit import audit_files
    from tsgen.common.files import atomic_path, check_output_file

    if out is not None:
        check_output_file(out, force)
    if no_reach and fail_on != "none":
        raise UsageError("--fail-on needs the classifiers; leave --no-reach out.")
    result = audit_files(files, max_clips=max_clips, reach=not no_reach)
    click.echo(json.dumps(result.to_json(), allow_nan=False) if as_json else result.text())
    if out is not None:
        from tsgen.audit.picture import draw_audit

        picture = draw_audit(result)
        with atomic_path(out) as partial:
            picture.save(partial, format="PNG", optimize=True)
        click.echo(f"wrote {out}: {picture.width}x{picture.height} px", err=as_json)
    broken = fail_on == "promises" and any(not promise.kept for promise in result.promises)
    if broken or any(leak.kind in FAIL_ON[fail_on] for leak in result.leaks):
        raise click.exceptions.Exit(LEAKS_EXIT_CODE)


@click.command()
@click.option("--domain", required=True, metavar="NAME", help=f"One of {', '.join(DOMAINS)}.")
@click.option("--profile", default="paper", show_default=True, metavar="NAME", help="paper or dataverse.")
@click.option(
    "--sizes",
    nargs=2,
    type=int,
    default=(4000, 1000),
    show_default=True,
    metavar="TRAIN VAL",
    help="Clips of all classes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def states(domain: str, profile: str, sizes: tuple[int, int], as_json: bool) -> None:
    """Count the different clips of each class, and how many two independent samples share (supplement 6.1).

    A state is a combination of start, speed, heading, direction and rotation; a path is what is drawn of it, whole
    pixels. Both are counted exactly (half a minute for 2dot). Where a digit moves or noise flickers, clips with the
    same path still differ.
    """
    from tsgen.audit import count_states
    from tsgen.audit.report import table_text

    record = resolve_domain(domain, profile)
    classes = count_states(record, *sizes)
    if as_json:
        facts = {"domain": record.name, "profile": profile, "sizes": list(sizes)}
        click.echo(json.dumps({**facts, "classes": [row.to_json() for row in classes]}))
        return
    rows = [
        (
            row.name,
            f"{row.states:,}",
            f"{row.paths:,}",
            *(f"{value:.1f}" for value in (row.shared_linear, row.shared_states, row.shared_paths, row.repeated_paths)),
        )
        for row in classes
    ]
    header = ("class", "states", "paths", "train x val x p", "states shared", "paths shared", "paths repeated in train")
    click.echo(f"{record.name} (profile {profile}): expected for {sizes[0]} training and {sizes[1]} validation clips")
    click.echo(table_text(header, rows))
    click.echo("train x val x p is the estimate of the supplement (spiral of 2dot: 800 x 200 / 7200 = 22); it counts")
    click.echo("pairs. The other columns count validation clips that occur in the training sample.")
