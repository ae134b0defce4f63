"""``rac-bench predict``, ``validate`` and ``score``: submissions from writing to scores. Only predict needs torch."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark.config import TARGETS, RunConfig, parse_seeds
from benchmark.models import MODELS, require_torch
from tsgen.common.engine import EngineOptions
from tsgen.common.engine.options import engine_options
from tsgen.common.errors import DataError, UsageError
from tsgen.common.shards import WHOLE, Shard

if TYPE_CHECKING:
    from benchmark.submission.truth import AnswerKeys

DEFAULTS = RunConfig()
FAMILY_NAMES = "recurrence, attention, convolution or other"


def truth_options(command: Callable[..., None]) -> Callable[..., None]:
    """Where the labels of submissions come from: ``--data``, ``--digits`` and ``--allow-custom``."""
    options = (
        click.option(
            "--data",
            multiple=True,
            type=click.Path(path_type=Path, exists=True),
            help="Clip file or answer key, or folder of such; may be repeated. [clips made again from the recipe]",
        ),
        click.option(
            "--digits",
            default="auto",
            show_default=True,
            help="Digits for making clips again: auto (as recorded, never downloaded), mnist (downloaded if absent), "
            "embedded, or a directory with IDX files.",
        ),
        click.option(
            "--allow-custom", is_flag=True, help="Accept other clips, sources and targets than the benchmark's."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command("score")
@click.argument("path", type=click.Path(path_type=Path))
@truth_options
@click.option("--json", "as_json", is_flag=True, help="Print the scorecard as JSON.")
def score(path: Path, data: tuple[Path, ...], digits: str, allow_custom: bool, as_json: bool) -> None:
    """Compute accuracies, rr and intervals from the predictions in PATH alone. Writes nothing and runs no model.

    PATH is a run directory, or a submission: a directory, a .zip or a .tar.gz. The labels of a submission's clips come
    from --data, or from clips made again by its recipe.
    """
    from benchmark.table import render

    if _is_run(path):
        from benchmark.results import RunDirectory

        if data or allow_custom:
            raise UsageError(f"{path} is a run directory and holds its labels; leave --data and --allow-custom out.")
        card = RunDirectory(path).scorecard()
        value = card.to_json()
    else:
        from benchmark.submission.check import check

        checked = check(path, _keys(data, digits, allow_custom))
        card = checked.scorecard()
        assert checked.submission is not None
        value = {**card.to_json(), "submission": checked.submission.to_json()}
    click.echo(json.dumps(value, indent=1) if as_json else render(card))


def _is_run(path: Path) -> bool:
    from benchmark.submission.layout import RECORD_NAME

    if not path.is_dir() or (path / RECORD_NAME).exists():
        return False
    if (path / "config.json").exists():
        return True
    if (path / "sweep.json").exists():
        raise DataError(f"{path} is a sweep; rac-bench sweep --out {path} --summary prints its table.")
    raise DataError(f"{path} is not a run directory: it has no config.json. Nor is it a submission: no {RECORD_NAME}.")


@click.command("validate")
@click.argument("path", type=click.Path(path_type=Path))
@truth_options
@click.option("--json", "as_json", is_flag=True, help="Print the problems as JSON.")
def validate(path: Path, data: tuple[Path, ...], digits: str, allow_custom: bool, as_json: bool) -> None:
    """Check the submission PATH, a directory, a .zip or a .tar.gz: all its problems, one a line.

    Exit code 0: admissible. 3: not, and every problem was named.
    """
    from benchmark.submission.check import Checked, check
    from benchmark.submission.layout import Problem

    keys = _keys(data, digits, allow_custom)
    try:
        checked = check(path, keys)
    except DataError as problem:  # an archive or directory that cannot be looked at
        checked = Checked((Problem(str(path), str(problem).removeprefix(str(path)).lstrip(": ")),))
    one = checked.submission
    if as_json:
        problems = [{"file": problem.file, "problem": problem.text} for problem in checked.problems]
        click.echo(json.dumps({"admissible": checked.is_admissible, "problems": problems}, indent=1))
    elif one is None:
        for each in checked.problems:
            click.echo(str(each))
        click.echo(f"{path}: not admissible, {len(checked.problems)} problem{'s' * (len(checked.problems) != 1)}.")
    else:
        clips = ", ".join(f"{name} {facts.split} ({facts.n} clips)" for name, facts in one.domains.items())
        seeds = f"seed{'s' * (len(one.seeds) > 1)} {', '.join(map(str, one.seeds))}"
        click.echo(f"{path}: admissible. {one.title}; {seeds}; {clips}.")
    if not checked.is_admissible:
        click.get_current_context().exit(DataError.exit_code)


def _keys(data: tuple[Path, ...], digits: str, allow_custom: bool) -> AnswerKeys:
    from benchmark.submission.truth import AnswerKeys

    return AnswerKeys(data, digits=digits, allow_custom=allow_custom)


@click.command("predict")
@click.option(
    "--run", "runs", multiple=True, type=click.Path(path_type=Path), help="Finished run directory; repeatable."
)
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Weights as safetensors, one file for each seed; may be repeated.",
)
@click.option("--model", help=f"{', '.join(MODELS)}, or a name as in docs/models.md. [the checkpoint's]")
@click.option("--hidden", type=int, help="Hidden units a layer. [the checkpoint's]")
@click.option("--source", help=f"Domain the model was trained on: {', '.join(TARGETS)}. [the checkpoint's]")
@click.option("--seeds", help="Training seed of each checkpoint, like 42,61. [the checkpoints']")
@click.option("--n-val", type=int, help=f"Source validation clips. [{DEFAULTS.n_val}; others are not the benchmark's]")
@click.option(
    "--n-target", type=int, help=f"Clips of each target. [{DEFAULTS.n_target}; others are not the benchmark's]"
)
@click.option(
    "--data-seed", type=int, help=f"Seed of all clips. [{DEFAULTS.data_seed}; others are not the benchmark's]"
)
@click.option("--digits", default="auto", show_default=True, help="Digits of the mnist domains, as in rac-bench run.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Cache of clip files, as in rac-bench run.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--threads", type=int, help="CPU threads. [all cores; with processes and ray: 1]")
@engine_options("serial")
@click.option("--workers", type=int, help="Processes, with --engine processes. [as many as cores]")
@click.option(
    "--shard",
    help="Only a part of the answers, from 0/n to n-1/n, into a folder beside OUT. Join them with rac-bench merge.",
)
@click.option("--title", help="Name of the submission. [model and source]")
@click.option("--author", "authors", multiple=True, help="May be repeated.")
@click.option("--protocol", help="How the model was trained, a sentence. [known for rac-bench's own runs]")
@click.option("--selection", help="How the checkpoint was chosen, a sentence. [known for rac-bench's own runs]")
@click.option("--family", help=f"{FAMILY_NAMES}. [known for our families, else other]")
@click.option("--pretraining/--no-pretraining", default=None, help="Whether the weights saw other data before.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Directory of the submission; a new one.")
def predict(
    runs: tuple[Path, ...],
    checkpoints: tuple[Path, ...],
    digits: str,
    data_dir: Path | None,
    device: str,
    threads: int | None,
    engine: str,
    address: str | None,
    workers: int | None,
    shard: str | None,
    title: str | None,
    authors: tuple[str, ...],
    protocol: str | None,
    selection: str | None,
    family: str | None,
    pretraining: bool | None,
    out: Path,
    **request: Any,
) -> None:
    """Write a submission: from finished runs (--run, no PyTorch needed), or by evaluating a trained model.

    A model is evaluated on the validation clips of the domain it was trained on and on every target, once for each
    --checkpoint. A --model py:MODULE:FACTORY may bring its weights along instead. With --engine and --shard each pair
    of a seed and a domain is a unit.
    """
    from benchmark.submission.write import Words, submit_runs

    words = Words(title, authors, protocol, selection, family, pretraining)
    how, part = EngineOptions(engine, workers, address), WHOLE if shard is None else Shard.parse(shard)
    if runs:
        given = [f"--{name.replace('_', '-')}" for name, value in request.items() if value is not None]
        given += ["--checkpoint"] if checkpoints else []
        given += ["--engine"] if how.name != "serial" else []
        given += [] if part.is_whole else ["--shard"]
        if given:
            raise UsageError(f"--run copies what a run predicted; leave out {', '.join(given)}.")
        submission = submit_runs(runs, out, words)
    else:
        if not checkpoints and request["model"] is None:
            raise UsageError("give --run DIR, --checkpoint FILE or --model py:MODULE:FACTORY.")
        require_torch()
        from benchmark.data import data_directory
        from benchmark.submission.from_model import Wanted, submit_model

        wanted = Wanted(
            model=request["model"],
            hidden=request["hidden"],
            source=request["source"],
            seeds=None if request["seeds"] is None else parse_seeds(request["seeds"]),
            **{
                name: getattr(DEFAULTS, name) if request[name] is None else request[name]
                for name in ("n_val", "n_target", "data_seed")
            },
        )
        submission = submit_model(
            wanted,
            checkpoints,
            out,
            words,
            digits=digits,
            data_dir=data_directory(data_dir, lambda line: click.echo(line, err=True)),
            device=device,
            threads=threads if threads is not None or how.name == "serial" else 1,
            engine=how,
            shard=part,
            say=lambda line: click.echo(line, err=True),
        )
    if not part.is_whole:
        click.echo(f"{part.folder(out)} holds shard {part}. When all are done: rac-bench merge PARTS... --out {out}")
        return
    files = len(submission.seeds) * len(submission.domains)
    click.echo(f"Written to {out}: submission.json and {files} files of answers.")
    _say_if_custom(submission.domains)


def _say_if_custom(domains: dict[str, Any]) -> None:
    from benchmark.submission.truth import departures

    found = {name: differing for name, facts in domains.items() if (differing := departures(name, facts))}
    if found:
        name = next(iter(found))
        click.echo(
            f"These are not the clips of the benchmark ({name}: {'; '.join(found[name])}); it is scored only with "
            "--allow-custom.",
            err=True,
        )
