"""``rac-bench compare``: two entries on the clips they share. No torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmark.probes.tables import table
from benchmark.submission_commands import truth_options
from tsgen.common.errors import UsageError, unknown_name

if TYPE_CHECKING:
    from benchmark.compare import Compared
    from benchmark.report.entries import BoardEntry
    from benchmark.statistics import Estimate
    from benchmark.submission.truth import AnswerKeys

NAME_MARK = "#"


@click.command("compare")
@click.argument("a")
@click.argument("b")
@truth_options
@click.option("--bootstrap", is_flag=True, help="Also intervals by a bootstrap over seeds and clips.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
def compare(
    a: str, b: str, data: tuple[Path, ...], digits: str, allow_custom: bool, bootstrap: bool, as_json: bool
) -> None:
    """Compare A with B on the clips that both answered: accuracy on every domain, rr on every target.

    A and B are directories of runs or submissions, archives of submissions, or entries of a sweep as SWEEP#NAME, like
    my-sweep#3dcnn-h8-2dot. They must have the same source and the same clips, by content hash.
    """
    from benchmark.compare import compare as of_two
    from benchmark.submission.truth import AnswerKeys

    keys = AnswerKeys(data, digits=digits, allow_custom=allow_custom)
    if a == b:
        raise UsageError(f"{a} is compared with itself; give two entries.")
    compared = of_two(_entry(a, keys), _entry(b, keys), bootstrap=bootstrap)
    click.echo(json.dumps(compared.to_json(), indent=1) if as_json else render(compared))


def _entry(text: str, keys: AnswerKeys) -> BoardEntry:
    from benchmark.report.entries import entries_of

    name, path = "", Path(text)
    if not path.exists() and NAME_MARK in text:
        before, _, name = text.rpartition(NAME_MARK)
        path = Path(before)
    entries = entries_of(path, keys)
    known = [entry.name for entry in entries]
    if not entries:
        raise UsageError(f"{path} holds no finished job yet.")
    if name and name not in known:
        raise unknown_name(f"entry of {path}", name, known)
    if not name and len(entries) > 1:
        raise UsageError(f"{path} holds {len(entries)} entries; give one as {path}{NAME_MARK}NAME: {', '.join(known)}.")
    return entries[known.index(name) if name else 0]


def render(compared: Compared) -> str:
    """Who A and B are, a table of accuracies, one of rr, and how to read them."""
    blocks = [
        f"A: {_who(compared.a)}\nB: {_who(compared.b)}",
        _accuracies(compared),
        _ratios(compared),
        *_one_seed_each(compared),
        *_bootstraps(compared),
        "\n".join(_notes(compared)),
    ]
    return "\n\n".join(blocks)


def _accuracies(compared: Compared) -> str:
    cells = [("accuracy", "clips", "A", "B", "A - B", "95% interval", "p", "verdict", "detectable")]
    for each in compared.domains:
        cells.append(
            (
                each.domain,
                str(each.n),
                _value(each.a),
                _value(each.b),
                *_with_interval(each.difference.estimate, "+"),
                _p(each.difference.p),
                each.difference.verdict,
                _number(each.detectable),
            )
        )
    return table(cells, "<" + ">" * 6 + "<>")


def _ratios(compared: Compared) -> str:
    cells = [("rr", "A", "B", "A - B", "A / B", "95% interval", "p", "verdict", "detectable")]
    for each in compared.ratios:
        cells.append(
            (
                each.domain,
                _value(each.a),
                _value(each.b),
                _number(each.difference, "+"),
                *_with_interval(each.ratio.estimate),
                _p(each.ratio.p),
                each.ratio.verdict if compared.a.card.valid and compared.b.card.valid else "not valid",
                _number(each.detectable, "x"),
            )
        )
    return table(cells, "<" + ">" * 6 + "<>")


def _one_seed_each(compared: Compared) -> list[str]:
    """McNemar's counts."""
    cells = [("only one is right", "A", "B", "McNemar's p")]
    for each in compared.domains:
        if each.mcnemar is not None:
            cells.append((each.domain, str(each.mcnemar.only_a), str(each.mcnemar.only_b), _p(each.mcnemar.p)))
    return [table(cells, "<>>>")] if len(cells) > 1 else []


def _bootstraps(compared: Compared) -> list[str]:
    if not any(each.bootstrap for each in compared.domains):
        return []
    ratios = {each.domain: each.bootstrap for each in compared.ratios}
    cells = [("bootstrap", "A - B", "95% interval", "rr A / rr B", "95% interval")]
    for each in compared.domains:
        of_ratio = _with_interval(ratios[each.domain]) if each.domain in ratios else ("", "")
        cells.append((each.domain, *_with_interval(each.bootstrap, "+"), *of_ratio))
    return [table(cells, "<>>>>")]


def _notes(compared: Compared) -> list[str]:
    from benchmark.statistics.power import POWER

    entries = (compared.a, compared.b)
    seeds = [len(entry.card.seeds) for entry in entries]
    if min(seeds) > 1:
        variance = "Intervals carry seeds and clips."
    elif max(seeds) > 1:
        variance = "One of them has one seed: intervals carry the clips and what the seeds of the other one show."
    else:
        variance = (
            "One seed each: intervals carry the variance of the clips; nothing is known of that between trainings."
        )
    notes = [
        "The same clips on both sides, so what is hard for both costs nothing. Verdict: by the interval.",
        f"detectable: the difference, or factor between two rr, that is found in {POWER:.0%} of such comparisons.",
        variance,
        f"p is not corrected for the {len(compared.domains) + len(compared.ratios)} comparisons.",
    ]
    for name, entry in zip("AB", entries, strict=True):
        if not entry.card.valid:
            notes.append(f"WARNING: V of {name} is not above guessing by its interval; its rr means nothing.")
    if compared.left_out:
        notes.append(f"Answered by one of them alone, left out: {', '.join(compared.left_out)}.")
    return notes


def _who(entry: BoardEntry) -> str:
    seeds = entry.card.seeds
    word = "seed" if len(seeds) == 1 else "seeds"
    return f"{entry.label} ({entry.origin}), trained on {entry.source.domain}; {word} {', '.join(map(str, seeds))}"


def _value(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{estimate.value:.3f}"


def _number(value: float | None, mark: str = "") -> str:
    """``mark``: + for a sign, x for a factor."""
    if value is None:
        return "-"
    return f"x{value:.3f}" if mark == "x" else f"{value:{mark}.3f}"


def _with_interval(estimate: Estimate | None, sign: str = "") -> tuple[str, str]:
    if estimate is None:
        return "-", "-"
    return f"{estimate.value:{sign}.3f}", f"{estimate.low:{sign}.3f} .. {estimate.high:{sign}.3f}"


def _p(p: float) -> str:
    return f"{p:.2g}" if p >= 1e-4 else "<1e-4"
