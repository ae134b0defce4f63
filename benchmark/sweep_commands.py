"""``rac-bench sweep``: many runs, on all cores, in any number of sittings."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark.config import PRECISIONS, TARGETS, RunConfig
from benchmark.models import MODELS, PAPER_HIDDEN
from benchmark.sweep.grid import SWEEP_PRESETS
from tsgen.common.engine import EngineOptions
from tsgen.common.engine.options import engine_options
from tsgen.common.errors import UsageError
from tsgen.common.shards import Shard

if TYPE_CHECKING:
    from benchmark.sweep.grid import Job
    from benchmark.sweep.store import SweepDirectory

FAILED_EXIT_CODE = 4
DEFAULTS = RunConfig()

PROTOCOL_OPTIONS: dict[str, tuple[str, type, str]] = {
    "max_epochs": ("--epochs", int, "At most so many epochs. [the family's]"),
    "patience": ("--patience", int, "Stop after so many epochs without a better source validation. [the family's]"),
    "batch_size": ("--batch-size", int, f"Clips a step. [paper: {DEFAULTS.batch_size}]"),
    "learning_rate": ("--learning-rate", float, f"Of SGD, constant. [paper: {DEFAULTS.learning_rate}]"),
    "precision": ("--precision", str, f"Arithmetic: {', '.join(PRECISIONS)}. [{DEFAULTS.precision}]"),
    "n_train": ("--n-train", int, f"Training clips. [paper: {DEFAULTS.n_train}]"),
    "n_val": ("--n-val", int, f"Source validation clips. [paper: {DEFAULTS.n_val}]"),
    "n_target": ("--n-target", int, f"Clips of each target. [paper: {DEFAULTS.n_target}]"),
    "data_seed": ("--data-seed", int, "Seed of all clips; the same for every training seed."),
}
"""Field of the run's config -> its option. Not given: as in the preset."""


def _protocol_options(command: Callable[..., None]) -> Callable[..., None]:
    for field, (option, kind, text) in reversed(PROTOCOL_OPTIONS.items()):
        command = click.option(option, field, type=kind, help=text)(command)
    return command


@click.command("sweep")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Directory of the sweep; may be begun.")
@click.option("--models", help=f"List. [{','.join(MODELS)}]")
@click.option("--hidden", help=f"List of hidden units a layer. [{','.join(map(str, PAPER_HIDDEN))}]")
@click.option("--sources", help=f"List of domains to train on. [{','.join(TARGETS)}]")
@click.option("--seeds", help=f"List of training seeds. [paper: {','.join(map(str, DEFAULTS.seeds))}; quick: 42]")
@click.option("--preset", default=DEFAULTS.preset, show_default=True, help=f"Protocol: {', '.join(SWEEP_PRESETS)}.")
@_protocol_options
@click.option("--digits", default="auto", show_default=True, help="Digits of the mnist domains, as in rac-bench run.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Cache of clip files, as in rac-bench run.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--workers", type=int, help="Processes. [as many as cores; 1 on a GPU]")
@click.option("--threads", default=1, show_default=True, help="CPU threads of each worker, or cores of each unit.")
@engine_options()
@click.option(
    "--gpus", type=float, help="With --engine ray: of a GPU for each job, like 0.25. [1 for ten of one model]"
)
@click.option(
    "--shard", help="Only every n-th job, counted from the i-th, 0/n to n-1/n. Join them with rac-bench merge."
)
@click.option("--budget", help="Stop after a time like 900s, 30m or 2h, and begin nothing that would not end in it.")
@click.option("--retry-failed", is_flag=True, help="Try failed jobs again, from their last epoch.")
@click.option("--levels", help="Every job keeps checkpoints at these source validation accuracies too, like 0.3,0.35.")
@click.option("--plan", "only_plan", is_flag=True, help="Say what it would cost on this machine; train nothing.")
@click.option("--summary", "only_summary", is_flag=True, help="Print the table of what is done; train nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def sweep(
    out: Path,
    models: str | None,
    hidden: str | None,
    sources: str | None,
    seeds: str | None,
    preset: str,
    digits: str,
    data_dir: Path | None,
    device: str,
    workers: int | None,
    threads: int,
    engine: str,
    address: str | None,
    gpus: float | None,
    shard: str | None,
    budget: str | None,
    retry_failed: bool,
    levels: str | None,
    only_plan: bool,
    only_summary: bool,
    as_json: bool,
    **overrides: Any,
) -> None:
    """Train and evaluate a grid of models, h, sources and seeds: by default the 400 runs of the paper.

    Every run is a job with a directory of its own in OUT/jobs. The same command goes on where the last one ended,
    however it ended, and several may work in one OUT. Exit code 4: all that could be done is done, but jobs failed.
    """
    started = time.monotonic()
    from benchmark.sweep.grid import Grid, parse_budget, protocol_of
    from benchmark.sweep.store import SweepDirectory

    if only_plan and only_summary:
        raise UsageError("--plan and --summary are two questions; ask one at a time.")
    directory = SweepDirectory(out)
    if only_summary:
        _summarise(directory, None, as_json)
        return
    grid = Grid.parse(preset, models, hidden, sources, seeds)
    jobs = grid.jobs(preset, **overrides)
    if shard is not None:
        jobs = grid.shard(jobs, Shard.parse(shard))
    budget_s = None if budget is None else parse_budget(budget)
    from benchmark.engine.levels import parse_levels

    wanted_levels = () if levels is None else parse_levels(levels)
    protocol = protocol_of(preset, **overrides)
    directory.check_free(protocol)

    from benchmark.sweep.run import Means, plan_sweep, run_sweep

    means = Means(device, workers, threads, budget_s, started, EngineOptions(engine, workers, address), gpus)
    if only_plan:
        from benchmark.sweep.plan import render_plan

        plan = plan_sweep(directory, jobs, means, _say)
        click.echo(json.dumps(plan, indent=1) if as_json else render_plan(plan))
        return

    from benchmark.data import data_directory

    try:
        run_sweep(
            directory,
            jobs,
            protocol,
            means,
            digits=digits,
            data_dir=data_directory(data_dir, _say),
            retry_failed=retry_failed,
            say=_say,
            levels=wanted_levels,
        )
    except KeyboardInterrupt:
        _say("\nstopped; the same command goes on after the last finished epoch of every job.")
        raise
    _summarise(directory, jobs, as_json)


def _summarise(directory: SweepDirectory, jobs: Sequence[Job] | None, as_json: bool) -> None:
    from benchmark.sweep.summary import render_summary, summarise, write_records

    directory.read_protocol()
    if jobs is None:
        with directory.opened(_say):
            write_records(directory)
    summary = summarise(directory, jobs)
    click.echo(json.dumps(summary.to_json(), indent=1) if as_json else render_summary(summary))
    if summary.failures:
        click.get_current_context().exit(FAILED_EXIT_CODE)


def _say(line: str) -> None:
    click.echo(line, err=True)
