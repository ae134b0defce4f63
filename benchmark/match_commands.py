"""``rac-bench match``: comparable settings of the families, and the rule that makes them so."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark.config import TARGETS, parse_names, parse_numbers
from benchmark.models import MODELS, PAPER_HIDDEN, check_model, is_outside
from tsgen.common.errors import DataError, UsageError, unknown_name

if TYPE_CHECKING:
    from benchmark.matching import Group, Matching, Setting

BY = ("layers", "params", "val-accuracy")
OF_RUNS, OF_FAMILIES = ("runs", "source"), ("hidden", "candidates")
DEFAULT_REFERENCE = "3dcnn"
NOT_WITHIN, APART = "!", "~"
FLAGS = {
    NOT_WITHIN: "the nearest there is, but not within the tolerance.",
    APART: "within the tolerance, but the 95% intervals of V do not overlap.",
}


@click.command("match")
@click.option("--by", required=True, help=f"The rule: {', '.join(BY)}.")
@click.option("--reference", default=DEFAULT_REFERENCE, show_default=True, help="The family that is matched.")
@click.option(
    "--models", help=f"List of families to match it with. [{','.join(MODELS)}; val-accuracy: all that were run]"
)
@click.option("--hidden", help=f"layers, params: h of the reference. [{','.join(map(str, PAPER_HIDDEN))}]")
@click.option("--candidates", help="params: h that the other families may take, like 2,4,8. [any]")
@click.option("--runs", type=click.Path(path_type=Path), help="val-accuracy: directory of a sweep.")
@click.option("--source", help=f"val-accuracy: domain trained on: {', '.join(TARGETS)}. [every one]")
@click.option("--tolerance", type=float, help="params: a factor [1.1]; val-accuracy: a distance of V [0.05].")
@click.option("--json", "as_json", is_flag=True, help="Print the groups as JSON instead of a table.")
def match(
    by: str,
    reference: str,
    models: str | None,
    hidden: str | None,
    candidates: str | None,
    runs: Path | None,
    source: str | None,
    tolerance: float | None,
    as_json: bool,
) -> None:
    """Say which settings (model, h) are comparable by layers, parameters, or source validation accuracy V."""
    if by not in BY:
        raise unknown_name("rule", by, BY)
    given = {"runs": runs, "source": source, "hidden": hidden, "candidates": candidates, "tolerance": tolerance}
    without = {"layers": (*OF_RUNS, "candidates", "tolerance"), "params": OF_RUNS, "val-accuracy": OF_FAMILIES}[by]
    for name in without:
        if given[name] is not None:
            raise UsageError(f"--{name} means nothing with --by {by}; leave it out.")
    if by == "val-accuracy":
        found = _by_accuracy(runs, source, reference, _names(models), tolerance)
    else:
        others = _families(reference, _names(models))
        sizes = _sizes(hidden, "hidden") or PAPER_HIDDEN
        for h in sizes:
            check_model(reference, h)
        from benchmark.matching import TOLERANCES, match_layers, match_parameters

        if by == "layers":
            found = [match_layers(reference, others, sizes)]
        else:
            wanted = TOLERANCES[by] if tolerance is None else tolerance
            found = [match_parameters(reference, others, sizes, _sizes(candidates, "candidates"), wanted)]
    if as_json:
        click.echo(json.dumps([each.to_json() for each in found], indent=1))
        return
    click.echo("\n\n".join(render(each) for each in found))


def render(matching: Matching) -> str:
    """The rule, a row for each setting of the reference, and what was left out."""
    from benchmark.probes.tables import table

    names = list(dict.fromkeys(match.setting.model for group in matching.groups for match in group.matches))
    by_accuracy = matching.by == "val-accuracy"
    title = f"matched by {matching.by}{f', trained on {matching.source}' if matching.source else ''}: {matching.rule}"
    if not matching.groups:
        return "\n".join([title, "nothing to match", *_left_out(matching)])
    of = ("V", "V - V'") if by_accuracy else ("parameters", "ratio")
    header = [matching.groups[0].reference.model, of[0], *(cell for name in names for cell in (name, *of, ""))]
    cells = [header, *([*_cells(group.reference), *_matches(group, names, by_accuracy)] for group in matching.groups)]
    lines = [title, "", table(cells, ">" * len(header))]
    flags = {cell for row in cells for cell in row}
    notes = [f"{flag}: {says}" for flag, says in FLAGS.items() if flag in flags] + _left_out(matching)
    return "\n".join([*lines, *(["", *notes] if notes else [])])


def _cells(setting: Setting) -> list[str]:
    size = f"h={setting.hidden}" if setting.hidden else "-"
    if setting.V is None:
        return [size, str(setting.parameters)]
    return [size, f"{setting.V.value:.3f} [{setting.V.low:.3f}, {setting.V.high:.3f}]"]


def _matches(group: Group, names: Sequence[str], by_accuracy: bool) -> list[str]:
    of = {match.setting.model: match for match in group.matches}
    cells = []
    for name in names:
        if name not in of:
            cells += ["-", "", "", ""]
            continue
        match = of[name]
        flag = NOT_WITHIN if not match.within else APART if match.overlap is False else ""
        cells += [*_cells(match.setting), f"{match.measure:+.3f}" if by_accuracy else f"{match.measure:.3f}", flag]
    return cells


def _left_out(matching: Matching) -> list[str]:
    return [f"left out: {each}" for each in matching.left_out]


def _by_accuracy(
    runs: Path | None, source: str | None, reference: str, models: Sequence[str] | None, tolerance: float | None
) -> list[Matching]:
    from benchmark.matching import TOLERANCES, match_accuracy, read_settings

    if runs is None:
        raise UsageError("--by val-accuracy reads accuracies from runs; give --runs DIR, the directory of a sweep.")
    settings = read_settings(runs)
    if source is not None and source not in settings:
        raise unknown_name("source of these runs", source, settings)
    if not settings:
        raise DataError(f"{runs} holds no finished run yet.")
    known = list(dict.fromkeys(each.model for of_source, _ in settings.values() for each in of_source))
    for name in (reference, *(models or ())):
        if name not in known:
            raise unknown_name("model of these runs", name, known)
    wanted = TOLERANCES["val-accuracy"] if tolerance is None else tolerance
    return [
        match_accuracy(
            [each for each in of_source if models is None or each.model in (reference, *models)],
            reference,
            domain,
            wanted,
            left_out,
        )
        for domain, (of_source, left_out) in settings.items()
        if source in (None, domain)
    ]


def _families(reference: str, models: Sequence[str] | None) -> list[str]:
    for name in (reference, *(models or ())):
        if is_outside(name):
            raise UsageError(f"{name} has its own layers, no h to choose; match it --by val-accuracy.")
        if name not in MODELS:
            raise unknown_name("model", name, MODELS)
    return [name for name in (MODELS if models is None else models) if name != reference]


def _names(text: str | None) -> list[str] | None:
    return None if text is None else list(parse_names(text))


def _sizes(text: str | None, option: str) -> tuple[int, ...] | None:
    return None if text is None else parse_numbers(option, text)
