"""The commands of ``rac-bench``. Each imports what it needs when it runs, so that help stays quick."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from benchmark.calibration_config import find_bed
from benchmark.config import (
    OPTIMIZERS,
    PRECISIONS,
    PRESETS,
    VIDEO_SOURCE,
    RunConfig,
    make_config,
    parse_numbers,
    parse_seeds,
)
from benchmark.data_folder import DATA_HELP, data_folder
from benchmark.experiments import LEAST_SIDE_PX, PREFIX, SMALL_FRAMES, check_frames
from benchmark.launch import ENVIRONMENT, Launch, arguments_of, check_launch, end_rank, launch
from benchmark.models import (
    MODELS,
    OUTSIDE,
    PAPER_HIDDEN,
    VIDEO_MODELS,
    check_model,
    count_parameters,
    is_outside,
    require_torch,
)
from tsgen.common.cli import INTERRUPTED_EXIT_CODE
from tsgen.common.engine import EngineOptions
from tsgen.common.engine.options import engine_options
from tsgen.common.errors import RacError, UsageError

DEFAULTS = RunConfig()
SIZES = ("n_train", "n_val", "n_target")
Done = TypeVar("Done")


def _say(line: str) -> None:
    click.echo(line, err=True)


def _override(name: str, kind: type, text: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """An option that replaces one field of the preset."""
    assert name in {field.name for field in fields(RunConfig)}
    return click.option(f"--{name.replace('_', '-')}", type=kind, help=f"{text} [paper: {getattr(DEFAULTS, name)}]")


@click.command("run")
@click.option("--preset", help=f"Protocol: {', '.join(PRESETS)}. [paper; with --data: d48]")
@click.option(
    "--model",
    help=f"{', '.join(MODELS)}; for videos {', '.join(VIDEO_MODELS)}; or a model from outside: "
    f"{', '.join(f'{kind}:NAME' for kind in OUTSIDE)}. [{DEFAULTS.model}]",
)
@_override("hidden", int, "Hidden units a layer, h; of a TimeSformer, the width of a head.")
@click.option("--source", help="Domain to train on: 2dot, mnist-bg, or V: videos of --data. [2dot; with --data: V]")
@click.option(
    "--experiment",
    help=f"{PREFIX}a .. {PREFIX}h: matched families on the videos of --data, as in section 4.2 of the paper.",
)
@click.option("--shrink", type=int, help="With --experiment: divide the hidden units by this. [1; of recipes: 16]")
@click.option("--level", type=float, help="With --experiment: compare at this V. [the paper's; of recipes: 0.5]")
@click.option("--seeds", help="Training seeds, like 42,61. [paper: 42,61,47,53,57; quick: 42]")
@click.option(
    "--epochs",
    type=int,
    help=f"At most so many epochs. [paper: 100, TimeSformer 300; quick: {PRESETS['quick'].max_epochs}]",
)
@click.option(
    "--patience",
    type=int,
    help="Stop when so many epochs in a row did not raise source validation accuracy. [paper: 10, TimeSformer 100]",
)
@_override("batch_size", int, "Clips a step.")
@_override("optimizer", str, f"One of {', '.join(OPTIMIZERS)}.")
@_override("learning_rate", float, "Constant.")
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
@click.option("--threads", type=int, help="CPU threads of a process. [all cores; with --ranks or --engine ray: 1]")
@_override("precision", str, f"Arithmetic of convolutions and products: {', '.join(PRECISIONS)}.")
@click.option(
    "--pack",
    default="auto",
    show_default=True,
    help="How many seeds train together, or auto: one on a CPU; on a GPU all if a short trial shows that it pays.",
)
@click.option("--levels", help="Keep checkpoints at these source validation accuracies as well, like 0.3,0.35.")
@click.option("--out", type=click.Path(path_type=Path), help="Run directory. [runs/MODEL-hHIDDEN-SOURCE-PRESET]")
@click.option("--resume", is_flag=True, help="Continue the run in --out; start it if there is none.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Cache of clip files, or a release: a folder, or hf:USER/NAME@v1.0.0. [$RAC_DATA_DIR, else user cache]",
)
@click.option("--data", help=DATA_HELP)
@click.option("--ranks", default=1, show_default=True, help="Processes that train each model together, one a GPU.")
@engine_options("serial", "ray: the whole run on one machine of a cluster.")
@click.option("--json", "as_json", is_flag=True, help="Print result.json instead of the table.")
def run(
    preset: str | None,
    experiment: str | None,
    shrink: int | None,
    level: float | None,
    data: str | None,
    seeds: str | None,
    epochs: int | None,
    digits: str,
    device: str,
    threads: int | None,
    pack: str,
    levels: str | None,
    out: Path | None,
    resume: bool,
    data_dir: Path | None,
    ranks: int,
    engine: str,
    address: str | None,
    as_json: bool,
    **overrides: Any,
) -> None:
    """Train a model on a source domain and see how it holds up on the targets.

    Makes the clips it needs, trains once per seed with early stopping on source validation accuracy, evaluates each
    best checkpoint on the targets, and prints accuracy and robustness ratio (rr) with 95% intervals. An interrupted run
    continues with --resume to the same result.
    """
    from benchmark.engine.levels import parse_levels

    how = EngineOptions(engine, None, address)
    check_launch(how, ranks, device)
    begin_again = None
    if ranks > 1 or how.name != "serial":
        begin_again = partial(_begin_again, how, ranks, device, threads)
    overrides |= {"max_epochs": epochs, "seeds": None if seeds is None else parse_seeds(seeds)}
    if experiment is not None:
        fixed = {name: overrides.pop(name) for name in ("model", "hidden", "source")} | {"preset": preset}
        _refuse_data_options(overrides, digits, data_dir)
        _refuse("--experiment fixes it", **fixed, levels=levels, pack=None if pack == "auto" else pack)
        where = {"device": device, "threads": threads, "resume": resume}
        _run_experiment((experiment, shrink, level), data, out, overrides, where, as_json, begin_again)
        return
    if shrink is not None or level is not None:
        raise UsageError("--shrink and --level belong to --experiment; give --hidden, or --levels to keep checkpoints.")
    if data is not None:
        _refuse_data_options(overrides, digits, data_dir)
    wanted_levels = () if levels is None else parse_levels(levels)
    config, folder = _config_of(preset, data, overrides)
    require_torch()
    out = out or Path("runs") / f"{config.short_name}-{config.preset}"
    if begin_again is not None:
        from benchmark.engine.ranks import Ranks
        from benchmark.results import RunDirectory

        Ranks(0, ranks).check_batch(config.batch_size)
        RunDirectory(out).check_free(config, resume=resume)
        begin_again(out)

    from benchmark.data import data_directory
    from benchmark.engine.ranks import is_first_rank
    from benchmark.run import run as do_run
    from benchmark.table import render

    directory = _interruptible(
        lambda: do_run(
            config,
            out,
            digits=digits,
            data_dir=folder or data_directory(data_dir, _say),
            device=device,
            threads=threads,
            pack=pack,
            levels=wanted_levels,
            resume=resume,
            say=_say,
        )
    )
    if not is_first_rank():
        return
    if as_json:
        click.echo(json.dumps(directory.read_result(), indent=1))
        return
    click.echo(render(directory.scorecard()))
    click.echo(f"\nWritten to {out}: result.json, report.md, checkpoints, predictions of every clip.")


def _begin_again(engine: EngineOptions, ranks: int, device: str, threads: int | None, out: Path) -> NoReturn:
    """This command elsewhere, or in several processes; ends with its exit code. ``out`` was found free, or resumed."""
    context = click.get_current_context()
    environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    log = None if engine.name == "serial" else Path(f"{out.resolve()}.log")
    one = Launch(arguments_of(context, "--resume"), ranks, Path.cwd(), environment, log)
    context.exit(launch(one, engine, device, threads))


def _interruptible(work: Callable[[], Done]) -> Done:
    """``work()``, with a word on how to go on where the user stops it; under torchrun the processes part after it."""
    from benchmark.engine.ranks import is_first_rank, leave_ranks

    try:
        done = work()
        leave_ranks()
    except KeyboardInterrupt:
        if is_first_rank():
            _say("\nstopped; the same command with --resume continues after the last finished epoch.")
        end_rank(INTERRUPTED_EXIT_CODE)
        raise
    except (RacError, OSError) as problem:
        end_rank(getattr(problem, "exit_code", RacError.exit_code), str(problem))
        raise
    return done


def _refuse_data_options(overrides: dict[str, Any], digits: str, data_dir: Path | None) -> None:
    """Those that say which Temporal Shape clips are made mean nothing for videos."""
    given = {"data-seed": overrides["data_seed"], "digits": None if digits == "auto" else digits, "data-dir": data_dir}
    _refuse("videos come from --data as they are", **given)


def _refuse(reason: str, **options: Any) -> None:
    """UsageError when any of the options was given."""
    given = [f"--{name}" for name, value in options.items() if value is not None]
    if given:
        raise UsageError(f"leave out {', '.join(given)}: {reason}.")


def _config_of(preset: str | None, data: str | None, overrides: dict[str, Any]) -> tuple[RunConfig, Path | None]:
    """Of one run, and its data folder: on Temporal Shape, or on the videos of ``data``, that say how many they are."""
    if data is None:
        if overrides["source"] == VIDEO_SOURCE or (preset in PRESETS and PRESETS[preset].source == VIDEO_SOURCE):
            raise UsageError("training on videos needs --data: the folder that d48dom pack and d48dom build wrote.")
        return make_config(preset or DEFAULTS.preset, **overrides), None
    if overrides["source"] not in (None, VIDEO_SOURCE):
        raise UsageError(f"--source {overrides['source']} is not in --data; leave it out to train on its videos.")
    _refuse("their number is that of --data", **{name.replace("_", "-"): overrides[name] for name in SIZES})
    given = {name: value for name, value in overrides.items() if value is not None}
    bed = find_bed(data)
    if bed is not None and preset is None:
        hidden = {} if is_outside(given.get("model", "")) else {"hidden": PRESETS["d48"].hidden // bed.shrink}
        given = bed.overrides(hidden | given)
        _say_small(given)
    config = make_config(preset or "d48", **{**given, "source": VIDEO_SOURCE})
    from benchmark.video_data import open_folder, settings_of

    folder = data_folder(data, _say)
    stores = open_folder(folder)
    frames, *sides, _ = stores["train"].clip_shape
    if min(sides) < LEAST_SIDE_PX.get(config.model, 0):
        raise UsageError(
            f"the strides of {config.model} leave nothing of frames of {min(sides)} px; take "
            f"{SMALL_FRAMES[config.model]}, or frames of {LEAST_SIDE_PX[config.model]} px or more."
        )
    check_frames(config.preset, frames)
    return dataclasses.replace(config, **settings_of(stores)), folder


def _say_small(protocol: dict[str, Any]) -> None:
    """Of data that are made on the spot: it is not the paper's."""
    _say(f"small, for a CPU: {', '.join(f'{name} {value}' for name, value in protocol.items())}; options replace each")


def _run_experiment(
    asked: tuple[str, int | None, float | None],
    data: str | None,
    out: Path | None,
    overrides: dict[str, Any],
    where: dict[str, Any],
    as_json: bool,
    begin_again: Callable[[Path], NoReturn] | None,
) -> None:
    from benchmark.study import run_study
    from benchmark.study_record import StudyConfig
    from benchmark.study_table import render_study

    if data is None:
        raise UsageError("--experiment needs --data: the folder that d48dom pack and d48dom build wrote, or mini:.")
    bed = find_bed(data)
    experiment, shrink, level = asked
    if bed is not None:
        shrink, level = bed.shrink if shrink is None else shrink, bed.level if level is None else level
    study = StudyConfig(experiment, 1 if shrink is None else shrink, level)
    _refuse("their number is that of --data", **{name.replace("_", "-"): overrides.pop(name) for name in SIZES})
    require_torch()
    from benchmark.engine.ranks import is_first_rank

    out = out or Path("runs") / study.experiment
    given = {name: value for name, value in overrides.items() if value is not None}
    if bed is not None:
        given = bed.overrides(given)
        _say_small({"shrink": study.shrink, "level": study.at} | given)
    folder = data_folder(data, _say)
    if begin_again is not None:
        if not where["resume"] and any(out.glob("*/config.json")):
            raise UsageError(f"--out {out} holds an experiment; add --resume to go on with it, or give another --out.")
        begin_again(out)
    rows = _interruptible(lambda: run_study(study, folder, out, overrides=given, say=_say, **where))
    if is_first_rank():
        click.echo((out / "result.json").read_text() if as_json else render_study(study, rows))
        if not as_json:
            click.echo(f"\nWritten to {out}: result.json, and a run directory for each family.")


@click.command("params")
@click.option("--model", help=f"Model family: {', '.join(MODELS)}. [all]")
@click.option("--hidden", help="Hidden units, like 8 or 8,16. [the paper's ten]")
@click.option("--diving48", is_flag=True, help="The architectures of experiments a-h instead.")
@click.option("--json", "as_json", is_flag=True, help="Print the table as JSON.")
def params(model: str | None, hidden: str | None, diving48: bool, as_json: bool) -> None:
    """Count trainable parameters: Table 8 of the supplement, or the models of experiments a-h on Diving48.

    Table 8 prints 20451 for TimeSformer-8 at h = 2; it is 20421, as at the identical shape TimeSformer-1, h = 16.
    """
    if diving48:
        if model or hidden:
            raise UsageError("--diving48 shows every model of experiments a-h; leave --model and --hidden out.")
        _print_diving48(as_json)
        return
    wanted = PAPER_HIDDEN if hidden is None else parse_numbers("hidden", hidden)
    names = list(MODELS) if model is None else [model]
    if model is not None and is_outside(model):
        raise UsageError(f"params counts our own families, {', '.join(MODELS)}; {model} has its own layers.")
    for name in names:
        for each in wanted:
            check_model(name, each)
    counts = {name: {h: count_parameters(MODELS[name].spec_of(h)) for h in wanted} for name in names}
    if as_json:
        click.echo(json.dumps(counts))
        return
    click.echo("hidden" + "".join(f"  {MODELS[name].title:>13}" for name in counts))
    for h in wanted:
        click.echo(f"{h:>6}" + "".join(f"  {of_h[h]:>13}" for of_h in counts.values()))


def _print_diving48(as_json: bool) -> None:
    from benchmark.experiments import DIVING48_CLASSES, DIVING48_EXPERIMENTS
    from benchmark.models.specs import DIVING48

    counts = {
        letter: {title: count_parameters(spec, DIVING48, DIVING48_CLASSES) for title, spec in experiment.models.items()}
        for letter, experiment in DIVING48_EXPERIMENTS.items()
    }
    if as_json:
        click.echo(json.dumps(counts))
        return
    titles = list(counts["a"])
    click.echo("experiment  level" + "".join(f"  {title:>12}" for title in titles) + "  matched by")
    for letter, of in counts.items():
        experiment = DIVING48_EXPERIMENTS[letter]
        cells = "".join(f"  {of.get(title, '-'):>12}" for title in titles)
        click.echo(f"{letter:>10}  {100 * experiment.level:5.2f}{cells}  {experiment.matched_by}")
