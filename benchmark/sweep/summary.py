"""What the finished jobs of a sweep say: one record each, and accuracy and rr per (model, h, source). No torch."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.models import MODELS
from benchmark.predictions import Predictions
from benchmark.scoring import Entry, Scorecard, score
from benchmark.statistics import Estimate
from benchmark.sweep.grid import Job
from benchmark.sweep.store import STATES, SweepDirectory
from tsgen.common.errors import DataError
from tsgen.common.files import write_text_atomic

MAX_PRINTED = 10  # an interval of rr that reaches so far says nothing, in however many digits


@dataclass(frozen=True)
class Group:
    """The finished seeds of one (model, h, source)."""

    model: str
    hidden: int
    source: str
    card: Scorecard

    def to_json(self) -> dict[str, Any]:
        return {"model": self.model, "hidden": self.hidden, "source": self.source, "scorecard": self.card.to_json()}


@dataclass(frozen=True)
class Summary:
    """``states``: how many jobs are in each; ``failures``: name of a job -> why."""

    states: dict[str, int]
    failures: dict[str, str]
    groups: tuple[Group, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "states": self.states,
            "failures": self.failures,
            "groups": [group.to_json() for group in self.groups],
        }


def summarise(directory: SweepDirectory, jobs: Sequence[Job] | None = None) -> Summary:
    """Of ``jobs``, or of all that have begun. DataError when files are damaged or seeds saw different clips."""
    chosen = directory.begun_jobs() if jobs is None else list(jobs)
    of_state: dict[str, list[Job]] = {state: [] for state in STATES}
    for job in chosen:
        of_state[directory.state(job)].append(job)
    alike: dict[tuple[int, str, int, str], list[Job]] = {}
    for job in of_state["done"]:
        alike.setdefault(_order(job), []).append(job)
    return Summary(
        states={state: len(those) for state, those in of_state.items()},
        failures={job.name: directory.failure(job).get("error", "unknown") for job in of_state["failed"]},
        groups=tuple(_group(directory, alike[key]) for key in sorted(alike)),
    )


def write_records(directory: SweepDirectory) -> int:
    """Make records.jsonl anew from every finished job; how many there are. To be called when opened."""
    jobs = [job for job in directory.begun_jobs() if directory.state(job) == "done"]
    lines = [json.dumps(record(directory, job), allow_nan=False) for job in jobs]
    write_text_atomic(directory.records_path, "".join(f"{line}\n" for line in lines))
    return len(lines)


def record(directory: SweepDirectory, job: Job) -> dict[str, Any]:
    """A finished job in one line: no path and no time, so that equal sweeps give equal bytes."""
    run = directory.run_directory(job)
    result = run.read_result()
    try:
        seed = result["seeds"][0]
        digits = next((facts for facts in result["data"] if facts["digits_source"]), None)
        return {
            "job": job.name,
            "config": job.config.to_json(),
            "parameters": result["parameters"],
            "best_epoch": seed["best_epoch"],
            "epochs": seed["epochs"],
            "stopped": seed["stopped"],
            "domains": {name: {"hits": each["hits"], "n": each["n"]} for name, each in seed["domains"].items()},
            "content_hashes": {f"{each['domain']}/{each['split']}": each["content_hash"] for each in result["data"]},
            "digits": digits and {"source": digits["digits_source"], "sha256": digits["digits_sha256"]},
            "environment": result["environment"],
        }
    except (KeyError, IndexError, TypeError) as problem:
        raise DataError(f"{run.result_path} is damaged ({problem!r}); delete {run.path} to do the job again.") from None


def render_summary(summary: Summary) -> str:
    """A table for each source, and what is not done."""
    blocks = []
    for source in dict.fromkeys(group.source for group in summary.groups):
        blocks.append(_table(source, [group for group in summary.groups if group.source == source]))
    if summary.groups:
        blocks.append(
            "V: source validation accuracy, mean over seeds. rr = target accuracy / V. Brackets: 95% intervals; of one "
            "seed they\ncarry the variance of the clips alone, of two or three take them as 90% ones. "
            "!: V is not above guessing by its\ninterval, so rr means nothing."
        )
    counts = [f"{number} {state}" for state, number in summary.states.items() if number]
    blocks.append(f"Jobs: {', '.join(counts) or 'none'}.")
    blocks += [f"failed: {name}: {error.splitlines()[0] if error else ''}" for name, error in summary.failures.items()]
    return "\n\n".join(blocks)


def _group(directory: SweepDirectory, jobs: Sequence[Job]) -> Group:
    seeds = tuple(sorted(job.seed for job in jobs))
    merged = dataclasses.replace(jobs[0].config, seeds=seeds)
    predictions: dict[tuple[int, str], Predictions] = {}
    for job in jobs:
        predictions |= directory.run_directory(job).read_predictions(job.config)
    return Group(merged.model, merged.hidden, merged.source, score(Entry.of_run(merged), predictions))


def _order(job: Job) -> tuple[int, str, int, str]:
    """The paper's families first and in its order."""
    model, hidden = job.family
    families = list(MODELS)
    return families.index(model) if model in families else len(families), model, hidden, job.config.source


def _table(source: str, groups: Sequence[Group]) -> str:
    targets = [row.domain for row in groups[0].card.rows[1:]]
    cells = [("model", "h", "seeds", "V", *(f"rr {target}" for target in targets), "")]
    for group in groups:
        first, *others = group.card.rows
        values = (_estimate(first.accuracy), *(_estimate(row.rr) for row in others))
        flag = "" if group.card.valid else "!"
        cells.append((group.model, str(group.hidden), str(len(group.card.seeds)), *values, flag))
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = ["  ".join(f"{text:<{w}}" for text, w in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([f"trained on {source}", "", lines[0], "-" * max(map(len, lines)), *lines[1:]])


def _estimate(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    high = f"{estimate.high:.3f}" if estimate.high < MAX_PRINTED else f">{MAX_PRINTED}"
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {high}]"
