"""``rac-bench attributes``: the paper's attribute count for any answers on Diving48. No torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark.reproduce_commands import aligned
from benchmark.submission_commands import truth_options
from tsgen.common.errors import DataError, UsageError, unknown_name

if TYPE_CHECKING:
    from benchmark.attributes import AttributeReport, Count, Null
    from benchmark.predictions import Predictions
    from benchmark.submission.truth import AnswerKeys

TOPS = (1, 5)


@click.command("attributes")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--top", default=1, show_default=True, help="1: the answers; 5: the best five classes of each clip.")
@click.option("--domain", "domains", multiple=True, help="Only this one of a run or submission; may be repeated.")
@truth_options
@click.option("--permutations", type=int, help="Samples of the null of exchanged errors. [2000]")
@click.option("--seed", default=0, show_default=True, help="Of the null.")
@click.option("--values", is_flag=True, help="Also a line for each value of each attribute.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def attributes(
    paths: tuple[Path, ...],
    top: int,
    domains: tuple[str, ...],
    data: tuple[Path, ...],
    digits: str,
    allow_custom: bool,
    permutations: int | None,
    seed: int,
    values: bool,
    as_json: bool,
) -> None:
    """Count which attributes of a dive the wrong answers in PATHS got right: takeoff, somersault, twist, position.

    PATHS are submissions on Diving48 (with --data, the answer keys), run directories, or predictions of one seed on one
    domain (HDF5). Each seed and domain gets a table; of several, as S1 and S2 in the paper, also the set count of their
    answers taken together.
    """
    import numpy as np

    from benchmark.attributes import PERMUTATIONS, POPULATED, analyse, dive_ids, set_count
    from benchmark.submission.truth import AnswerKeys

    if top not in TOPS:
        raise UsageError(f"--top {top} is not possible; allowed: {' or '.join(map(str, TOPS))}.")
    keys = AnswerKeys(data, digits=digits, allow_custom=allow_custom)
    reports: list[tuple[dict[str, Any], AttributeReport]] = []
    answers = []
    populated: tuple[int, ...] | None = None
    for path in paths:
        for predictions in _predictions_of(path, keys, domains):
            ids = dive_ids(predictions.class_names)
            true, predicted = ids[predictions.label], ids[predictions.ranked[:, :top]]
            known = tuple(index for index in POPULATED if index in ids)
            if populated not in (None, known):
                raise UsageError(f"{path} has other classes than {paths[0]}; give files of one data set.")
            populated = known
            of_file = {"file": str(path), "domain": predictions.domain, "training_seed": predictions.seed}
            report = analyse(
                true,
                predicted,
                populated=known,
                permutations=PERMUTATIONS if permutations is None else permutations,
                seed=seed,
            )
            reports.append((of_file, report))
            answers.append((true, predicted))
    together = None
    if len(reports) > 1 and populated:
        true, predicted = (np.concatenate(column) for column in zip(*answers, strict=True))
        together = set_count(true, predicted, populated)
    if as_json:
        record = {
            "files": [{**of_file, **asdict(report)} for of_file, report in reports],
            "together": together and {**asdict(together), "share": together.share},
        }
        click.echo(json.dumps(record, indent=1))
        return
    parts = [_render_attributes(of_file, report, values) for of_file, report in reports]
    if together is not None:
        parts.append(f"set count of all {len(reports)} together: {_count(together)}, chance {together.chance:.3f}")
    click.echo("\n\n".join([*parts, *_notes(reports[0][1])]))


def _predictions_of(path: Path, keys: AnswerKeys, domains: Sequence[str]) -> Iterator[Predictions]:
    """By seed, the source first. UsageError for a domain that is not there."""
    kind = next(kind for kind, (is_it, _) in KINDS.items() if is_it(path))
    found = KINDS[kind][1](path, keys)
    known = list(dict.fromkeys(each.domain for each in found))
    for name in domains:
        if name not in known:
            raise unknown_name(f"domain of {path}", name, known)
    return (each for each in found if not domains or each.domain in domains)


def _of_run(path: Path, keys: AnswerKeys) -> list[Predictions]:
    from benchmark.results import RunDirectory

    run = RunDirectory(path)
    return list(run.read_predictions(run.read_config()).values())


def _of_file(path: Path, keys: AnswerKeys) -> list[Predictions]:
    from benchmark.predictions import read_predictions

    return [read_predictions(path)]


def _of_submission(path: Path, keys: AnswerKeys) -> list[Predictions]:
    from benchmark.submission.check import check

    checked = check(path, keys)
    try:
        entry = checked.entry()
    except DataError as problem:
        raise DataError(f"{path}: {problem}") from None
    return [checked.predictions[seed, domain] for seed in entry.seeds for domain in entry.domains]


def _is_hdf5(path: Path) -> bool:
    from tsgen.common.h5guard import SIGNATURE

    if not path.is_file():
        return False
    with path.open("rb") as handle:
        return handle.read(len(SIGNATURE)) == SIGNATURE


KINDS: dict[str, tuple[Callable[[Path], bool], Callable[[Path, AnswerKeys], list[Predictions]]]] = {
    "predictions": (_is_hdf5, _of_file),
    "run": (lambda path: (path / "config.json").is_file(), _of_run),
    "submission": (lambda path: True, _of_submission),
}
"""Kind of path -> whether one is of it, and how its predictions are read; the first that fits."""


def _render_attributes(of_file: dict[str, Any], report: AttributeReport, with_values: bool) -> str:
    head = (
        f"{of_file['file']}: {of_file['domain']}, seed {of_file['training_seed']}; {report.clips} clips, "
        f"{report.errors} errors{f' (class not among the best {report.top})' if report.top > 1 else ''}"
    )
    lines: list[tuple[str, ...]] = [
        ("", "all clips", "95% interval", "errors", "share", "95% interval", "chance", "exchanged (95%)", "p")
    ]
    for row in report.attributes:
        overall = (f"{row.correct / report.clips:.3f}", _interval(row.interval))
        lines.append(
            (
                row.name,
                *overall,
                *_errors(row.of_errors),
                _interval(row.errors_interval),
                *_null(row.of_errors, row.null),
            )
        )
    for name, count, null in (("bag count", report.bag, report.bag_null), ("set count", report.set, report.set_null)):
        lines.append((name, "", "", *_errors(count), "", *_null(count, null)))
    text = "\n".join([head, "", *aligned(lines, "<" + ">" * 8)])
    if with_values:
        text += "\n\n" + "\n".join(aligned(_value_lines(report), "<<>>>"))
    return text


def _value_lines(report: AttributeReport) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = [("attribute", "value", "clips", "class right", "attribute right")]
    for row in report.attributes:
        for each in row.values:
            shares = (f"{right / each.clips:.3f}" for right in (each.class_correct, each.attribute_correct))
            lines.append((row.name, each.value, str(each.clips), *shares))
    return lines


def _notes(report: AttributeReport) -> list[str]:
    how = "all clips: the answer has the attribute right. errors: attributes right among the wrong answers.\n"
    if report.top > 1:
        how = (
            f"all clips: one of the best {report.top} classes has the attribute right. errors: attributes right among "
            f"all {report.top} of\nclips whose class is none of them, which are exchanged together.\n"
        )
    return [
        f"{how}"
        "set count: the paper's, every wrong class once for each true class. bag count: every error.\n"
        "chance: wrong classes drawn at random from the other classes with clips.\n"
        f"exchanged: the wrong answers exchanged among the errors at random ({report.permutations} samples, seed "
        f"{report.seed}): mean and\nmiddle 95%; p, one-sided: as many right or more. Six p from one set of answers."
    ]


def _count(count: Count) -> str:
    return f"{count.correct}/{count.total} = {count.share:.3f}"


def _errors(count: Count | None) -> tuple[str, str]:
    return ("-", "-") if count is None else (f"{count.correct}/{count.total}", f"{count.share:.3f}")


def _null(count: Count | None, null: Null | None) -> tuple[str, str, str]:
    if count is None or null is None:
        return "-", "-", "-"
    return f"{count.chance:.3f}", f"{null.mean:.3f} ({null.low:.3f} .. {null.high:.3f})", f"{null.p:.2g}"


def _interval(bounds: tuple[float, float] | None) -> str:
    return "" if bounds is None else f"{bounds[0]:.3f} .. {bounds[1]:.3f}"
