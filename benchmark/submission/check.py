"""Is a submission admissible? Every problem at once; and when there is none, its predictions and its scores."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.predictions import Predictions
from benchmark.scoring import Entry, Scorecard, score
from benchmark.submission.answers import AnswerKey, read_answers
from benchmark.submission.archive import opened
from benchmark.submission.layout import RECORD_NAME, Listing, Problem, answers_name, list_files, parse_json, shown
from benchmark.submission.record import REQUIRED_TARGETS, Outline, Submission, read_record
from benchmark.submission.truth import AnswerKeys
from tsgen.common.errors import DataError

MAX_LINES = 1000  # of problems kept: a submission of thousands of files can have one in each


@dataclass(frozen=True)
class Checked:
    """``predictions``: (seed, domain) -> answers beside the truth, whole when there are no ``problems``."""

    problems: tuple[Problem, ...]
    submission: Submission | None = None
    predictions: dict[tuple[int, str], Predictions] = field(default_factory=dict)

    @property
    def is_admissible(self) -> bool:
        return not self.problems

    def entry(self) -> Entry:
        """What to score; DataError naming every problem when it is not admissible."""
        one = self.submission
        if self.problems or one is None:
            lines = "".join(f"\n  {problem}" for problem in self.problems)
            raise DataError(f"not admissible, {len(self.problems)} problem{'s' * (len(self.problems) != 1)}:{lines}")
        return Entry(one.title, one.source, one.targets, one.seeds, one.selection)

    def scorecard(self) -> Scorecard:
        return score(self.entry(), self.predictions)


def check(path: Path, keys: AnswerKeys) -> Checked:
    """Of a directory, or a .zip, .tar or .tar.gz. DataError only when it cannot be looked at at all."""
    with opened(path) as root:
        listing = list_files(root)
        problems = list(listing.problems)
        outline = _read_outline(root, listing, problems)
        predictions: dict[tuple[int, str], Predictions] = {}
        if outline is not None:
            problems += outline.problems
            _check_targets(outline, keys, problems)
            predictions = _check_answers(root, outline, listing, keys, problems)
            _check_seeds_differ(outline, predictions, problems)
        if len(problems) > MAX_LINES:
            more = Problem(
                RECORD_NAME, f"and {len(problems) - MAX_LINES} more problems in other files; mend these first."
            )
            problems = [*problems[:MAX_LINES], more]
        if problems or outline is None:
            return Checked(tuple(problems))
        return Checked((), outline.submission, predictions)


def _read_outline(root: Path, listing: Listing, problems: list[Problem]) -> Outline | None:
    if RECORD_NAME not in listing.readable:
        if RECORD_NAME not in listing.present:
            problems.append(Problem(RECORD_NAME, "is missing; every submission has one, see docs/submissions.md."))
        return None
    try:
        return read_record(parse_json((root / RECORD_NAME).read_bytes()))
    except DataError as problem:
        problems.append(Problem(RECORD_NAME, str(problem)))
        return None


def _check_targets(outline: Outline, keys: AnswerKeys, problems: list[Problem]) -> None:
    """Somebody who left out the targets that go badly must not stand beside those who answered all."""
    if not outline.source:
        return
    if outline.source in outline.targets:
        problems.append(Problem(RECORD_NAME, f"{outline.source} is source and target; remove it from targets."))
    if keys.allow_custom:
        return
    if outline.source not in REQUIRED_TARGETS:
        known = ", ".join(REQUIRED_TARGETS)
        text = f"source {outline.source} is none of {known}; only with --allow-custom another one is scored."
        problems.append(Problem(RECORD_NAME, text))
        return
    missing = [name for name in REQUIRED_TARGETS[outline.source] if name not in outline.targets]
    if missing and outline.targets:
        text = f"targets lack {', '.join(missing)}; answer every target of {outline.source}."
        problems.append(Problem(RECORD_NAME, text))


def _check_seeds_differ(
    outline: Outline, predictions: dict[tuple[int, str], Predictions], problems: list[Problem]
) -> None:
    """One training under two seeds would shrink the intervals."""
    if not outline.is_whole or len(outline.seeds) < 2:
        return
    domains = [outline.source or "", *outline.targets]
    alike: dict[tuple[bytes, ...], list[tuple[int, list[Predictions]]]] = {}
    for seed in outline.seeds:
        group = [each for domain in domains if (each := predictions.get((seed, domain))) is not None]
        if len(group) < len(domains):
            continue
        before = alike.setdefault(tuple(_digest(each.ranked) for each in group), [])
        other = next((one for one, its in before if all(map(_are_the_same, its, group))), None)
        if other is not None:
            text = f"seeds {other} and {seed} have the same answers on every domain: one training counts once."
            problems.append(Problem(RECORD_NAME, text))
        before.append((seed, group))


def _are_the_same(one: Predictions, other: Predictions) -> bool:
    """Of two with the same best classes everywhere. Where both gave logits these decide.

    Two trainings that learned nothing may well rank all classes alike on every clip, but by other numbers.
    """
    if one.logits is None or other.logits is None:
        return True
    return np.array_equal(one.logits, other.logits)


def _digest(ranked: NDArray[np.int64]) -> bytes:
    """Of the best classes, clips in the order of the truth."""
    return hashlib.sha256(np.ascontiguousarray(ranked).tobytes()).digest()


def _check_answers(
    root: Path, outline: Outline, listing: Listing, keys: AnswerKeys, problems: list[Problem]
) -> dict[tuple[int, str], Predictions]:
    domains = list(dict.fromkeys((*([outline.source] if outline.source else []), *outline.targets)))
    found: dict[str, AnswerKey] = {}
    for domain, facts in outline.domains.items():
        if domain in domains or not outline.is_whole:
            try:
                found[domain] = keys.find(domain, facts)
            except DataError as problem:
                problems.append(Problem(RECORD_NAME, str(problem)))
    if len({key.class_names for key in found.values()}) > 1:
        problems.append(Problem(RECORD_NAME, "the domains have different classes; rr compares accuracies on the same."))
    predictions = {}
    expected = {answers_name(seed, domain): (seed, domain) for seed in outline.seeds for domain in domains}
    for name, (seed, domain) in expected.items():
        if name not in listing.present:
            problems.append(Problem(name, f"is missing; add the answers of seed {seed} on {domain}."))
        elif name in listing.readable:
            joined, wrong = read_answers(root / name, seed, domain, found.get(domain))
            problems += [Problem(name, text) for text in wrong]
            if joined is not None:
                predictions[seed, domain] = joined
    if outline.is_whole:
        for name in sorted(listing.present - set(expected) - {RECORD_NAME}):
            problems.append(Problem(shown(name), "belongs to no seed and domain of the record; remove it."))
    return predictions
