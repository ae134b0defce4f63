"""``rac-bench probe``: a finished run under temporal controls, or over a dial of the generator."""

from __future__ import annotations

import json
from pathlib import Path

import click

from benchmark.config import parse_names, parse_seeds
from benchmark.models import require_torch
from tsgen.common.errors import UsageError


@click.command("probe")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--seeds", help="Training seeds to evaluate, like 42,61. [all of the run]")
@click.option("--domains", help="Domains of the run, like 2dot,mnist. [source validation and all targets]")
@click.option("--level", type=float, help="The checkpoints kept by run --levels at this accuracy, instead of the best.")
@click.option("--dial", help="Dose-response over this dial of tsgen.Domain, instead of the temporal controls.")
@click.option("--values", help="Doses of the dial, like 1,2,3,5,8.")
@click.option("--base", help="Domain (or domain file) whose dial is turned. [the run's source]")
@click.option("--digits", help="As in rac-bench run. [the run's, where they can be named]")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Cache of clip files, as in rac-bench run.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--threads", type=int, help="CPU threads. [all cores]")
@click.option("--out", type=click.Path(path_type=Path), help="Write the result as JSON to this file as well.")
@click.option("--force", is_flag=True, help="Replace --out if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON instead of a table.")
def probe(
    run_dir: Path,
    seeds: str | None,
    domains: str | None,
    level: float | None,
    dial: str | None,
    values: str | None,
    base: str | None,
    digits: str | None,
    data_dir: Path | None,
    device: str,
    threads: int | None,
    out: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """See what the model of a finished run loses when its clips are shuffled, reversed, frozen or flattened.

    Evaluates the checkpoints in RUN_DIR again; trains nothing and leaves RUN_DIR as it is. With --dial and --values:
    accuracy and rr over doses of one property of the clips, and the dose at which half of the robustness is left.
    """
    _check_options(domains, dial, values, base)
    doses: tuple[float, ...] = ()
    if dial is not None and values is not None:
        from benchmark.probes.dose import parse_values

        doses = parse_values(dial, values)
    chosen_seeds = None if seeds is None else parse_seeds(seeds)
    if out is not None:
        from tsgen.common.files import check_output_file

        check_output_file(out, force)
    require_torch()

    from benchmark.data import data_directory
    from benchmark.probes.dose import DoseReport, probe_dose
    from benchmark.probes.subject import AS_THE_RUN, open_subject
    from benchmark.probes.temporal import TemporalReport, probe_temporal

    def say(line: str) -> None:
        click.echo(line, err=True)

    subject = open_subject(
        run_dir,
        data_dir=data_directory(data_dir, lambda line: click.echo(line, err=True)),
        digits=digits or AS_THE_RUN,
        seeds=chosen_seeds,
        level=level,
        device=device,
        threads=threads,
    )
    report: TemporalReport | DoseReport
    if dial is None:
        chosen = None if domains is None else list(parse_names(domains))
        report = probe_temporal(subject, chosen, say)
    else:
        report = probe_dose(subject, dial, doses, base, say)
    if out is not None:
        from tsgen.common.files import write_json_atomic

        write_json_atomic(out, report.to_json())
    click.echo(json.dumps(report.to_json(), indent=1) if as_json else report.render())


def _check_options(domains: str | None, dial: str | None, values: str | None, base: str | None) -> None:
    if (dial is None) != (values is None):
        raise UsageError("--dial and --values belong together, like --dial width_px --values 1,2,3,5,8.")
    if base is not None and dial is None:
        raise UsageError("--base is the domain whose dial is turned; give --dial and --values as well.")
    if domains is not None and dial is not None:
        raise UsageError("--domains chooses where the temporal controls are tried; with --dial, give --base.")
