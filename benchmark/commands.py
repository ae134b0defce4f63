"""The commands of ``rac-bench``. Each imports what it needs when it runs, so that help stays quick."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from benchmark.config import PRESETS, RunConfig, make_config, parse_seeds
from benchmark.models import MODELS, check_hidden, count_parameters, get_model_family, require_torch
from tsgen.common.errors import UsageError

DEFAULTS = RunConfig()


def _override(name: str, kind: type, text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """An option that replaces one field of the preset."""
    assert name in {field.name for field in fields(RunConfig)}
    return click.option(f"--{name.replace('_', '-')}", type=kind, help=f"{text} [paper: {getattr(DEFAULTS, name)}]")


@click.command("run")
@click.option("--preset", default=DEFAULTS.preset, show_default=True, help=f"Protocol: {', '.join(PRESETS)}.")
@click.option("--model", default=DEFAULTS.model, show_default=True, help=f"Model family: {', '.join(MODELS)}.")
@_override("hidden", int, "Hidden units a layer, h.")
@click.option("--source", default=DEFAULTS.source, show_default=True, help="Domain to train on: 2dot, mnist-bg.")
@click.option("--seeds", help="Training seeds, like 42,61. [paper: 42,61,47,53,57; quick: 42]")
@click.option("--epochs", type=int, help=f"At most so many epochs. [paper: 100; quick: {PRESETS['quick'].max_epochs}]")
@_override("patience", int, "Stop when so many epochs in a row did not raise source validation accuracy.")
@_override("batch_size", int, "Clips a step.")
@_override("learning_rate", float, "Of SGD, constant.")
@_override("n_train", int, "Training clips.")
@_override("n_val", int, "Source validation clips.")
@_override("n_target", int, "Clips of each target.")
@_override("data_seed", int, "Seed of all clips; the same for every training seed.")
@click.option(
    "--digits",
    default="auto",
    show_default=True,
    help="Digits of the mnist domains: mnist, embedded, a directory with IDX files, or auto (MNIST if it can be had).",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--threads", type=int, help="CPU threads. [all cores]")
@click.option("--out", type=click.Path(path_type=Path), help="Run directory. [runs/MODEL-hHIDDEN-SOURCE-PRESET]")
@click.option("--resume", is_flag=True, help="Continue the run in --out; start it if there is none.")
@click.option(
    "--data-dir", type=click.Path(path_type=Path), help="Cache of clip files. [$RAC_DATA_DIR, else user cache]"
)
@click.option("--json", "as_json", is_flag=True, help="Print result.json instead of the table.")
def run(
    preset: str,
    seeds: str | None,
    epochs: int | None,
    digits: str,
    device: str,
    threads: int | None,
    out: Path | None,
    resume: bool,
    data_dir: Path | None,
    as_json: bool,
    **overrides: Any,
) -> None:
    """Train a model on a source domain and see how it holds up on the targets.

    Makes the clips it needs, trains once per seed with early stopping on source validation accuracy, evaluates each
    best checkpoint on the targets, and prints accuracy and robustness ratio (rr) with 95% intervals. An interrupted run
    continues with --resume to the same result.
    """
    config = make_config(preset, max_epochs=epochs, seeds=None if seeds is None else parse_seeds(seeds), **overrides)
    require_torch()
    out = out or Path("runs") / f"{config.model}-h{config.hidden}-{config.source}-{config.preset}"

    from benchmark.data import data_directory
    from benchmark.run import run as do_run
    from benchmark.table import render

    def say(line: str) -> None:
        click.echo(line, err=True)

    try:
        directory = do_run(
            config,
            out,
            digits=digits,
            data_dir=data_directory(data_dir),
            device=device,
            threads=threads,
            resume=resume,
            say=say,
        )
    except KeyboardInterrupt:
        say("\nstopped; the same command with --resume continues after the last finished epoch.")
        raise
    if as_json:
        click.echo(json.dumps(directory.read_result(), indent=1))
        return
    click.echo(render(directory.scorecard()))
    click.echo(f"\nWritten to {out}: result.json, report.md, checkpoints, predictions of every clip.")


@click.command("score")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the scorecard as JSON.")
def score(run_dir: Path, as_json: bool) -> None:
    """Recompute accuracies, rr and intervals of RUN_DIR from its predictions alone. Writes nothing."""
    from benchmark.results import RunDirectory
    from benchmark.table import render

    card = RunDirectory(run_dir).scorecard()
    click.echo(json.dumps(card.to_json(), indent=1) if as_json else render(card))


@click.command("params")
@click.option("--model", default=DEFAULTS.model, show_default=True, help=f"Model family: {', '.join(MODELS)}.")
@click.option("--hidden", help="Hidden units, like 8 or 8,16. [those of the paper]")
@click.option("--json", "as_json", is_flag=True, help="Print {hidden: parameters}.")
def params(model: str, hidden: str | None, as_json: bool) -> None:
    """Count trainable parameters (Table 8 of the supplement)."""
    family = get_model_family(model)
    try:
        wanted = family.paper_hidden if hidden is None else tuple(int(part) for part in hidden.split(","))
    except ValueError:
        raise UsageError(f"hidden {hidden!r} is not whole numbers separated by commas, like 8,16.") from None
    for each in wanted:
        check_hidden(each)
    counts = {each: count_parameters(model, each) for each in wanted}
    if as_json:
        click.echo(json.dumps({"model": model, "parameters": counts}))
        return
    click.echo(f"{family.title}\n{'hidden':>6}  parameters")
    for each, count in counts.items():
        click.echo(f"{each:>6}  {count:>10}")
