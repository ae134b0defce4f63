"""A run under temporal controls: accuracy, the drop from intact clips, and what follows for the use of order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark import statistics
from benchmark.models import model_title
from benchmark.probes.controls import INTACT, MARGIN, PROBES, SHUFFLED, paired_drop, uses_order
from benchmark.probes.tables import interval, table
from benchmark.statistics import Estimate
from tsgen.common.errors import unknown_name
from tsgen.common.intervals import LEVEL

if TYPE_CHECKING:
    from benchmark.probes.subject import Subject

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class ProbeRow:
    """One control on one domain. ``changed``: the share of answers (seeds x clips) that are not those on intact clips.

    ``drop`` is accuracy intact minus accuracy here, paired on the clips; None for the intact row.
    """

    probe: str
    hits: tuple[int, ...]
    accuracy: Estimate
    drop: Estimate | None
    changed: float

    def to_json(self) -> dict[str, Any]:
        return {
            "probe": self.probe,
            "keeps": PROBES[self.probe].keeps,
            "hits_per_seed": list(self.hits),
            "accuracy": self.accuracy.to_json(),
            "drop": None if self.drop is None else self.drop.to_json(),
            "changed_answers": self.changed,
        }


@dataclass(frozen=True)
class DomainProbes:
    """All controls on one domain. ``uses_order``: "yes", "no" or "open"; ``above_guessing`` of the intact clips."""

    domain: str
    split: str
    n: int
    content_hash: str
    majority: float
    above_guessing: bool
    uses_order: str
    reason: str
    rows: tuple[ProbeRow, ...]

    @property
    def sentence(self) -> str:
        drop = next(row.drop for row in self.rows if row.probe == SHUFFLED)
        assert drop is not None
        size = f"shuffling takes {drop.value:.3f} [{drop.low:.3f}, {drop.high:.3f}] of the accuracy"
        return f"uses temporal order on {self.domain}: {self.uses_order}; {self.reason}\n  ({size})"

    def to_json(self) -> dict[str, Any]:
        return {
            "domain": self.domain,
            "split": self.split,
            "n": self.n,
            "content_hash": self.content_hash,
            "majority_baseline": self.majority,
            "intact_above_guessing": self.above_guessing,
            "uses_order": self.uses_order,
            "reason": self.reason,
            "rows": [row.to_json() for row in self.rows],
        }


@dataclass(frozen=True)
class TemporalReport:
    """Source first, then the targets, as far as they were asked for."""

    title: str
    subject: dict[str, Any]
    chance: float
    domains: tuple[DomainProbes, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "temporal controls",
            **self.subject,
            "interval_level": LEVEL,
            "chance": self.chance,
            "order_margin": MARGIN,
            "domains": [each.to_json() for each in self.domains],
        }

    def render(self) -> str:
        header = ("control", "accuracy", "95% interval", "drop", "95% interval", "changed")
        blocks = [self.title]
        for each in self.domains:
            cells = [header]
            for row in each.rows:
                drop = ("", "") if row.drop is None else (f"{row.drop.value:.3f}", interval(row.drop))
                changed = "" if row.drop is None else f"{row.changed:.3f}"
                cells.append((row.probe, f"{row.accuracy.value:.3f}", interval(row.accuracy), *drop, changed))
            blocks.append(f"{each.domain}, {each.split}, {each.n} clips\n\n" + table(cells, "<>>>>>"))
        blocks.append("\n".join(each.sentence for each in self.domains))
        blocks.append(
            "drop = accuracy on intact clips minus accuracy here, paired on the clips. changed = answers that are not\n"
            f"those on intact clips. Chance {self.chance:.3f}. A drop shows that answers depend on order, not that the "
            "task\nneeds it."
        )
        return "\n\n".join(blocks)


def probe_temporal(
    subject: Subject,
    domains: Sequence[str] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> TemporalReport:
    """Every control on source validation and the targets, or on ``domains``. UsageError for a domain not of the run."""
    config = subject.config
    known = (config.source, *config.targets)
    for domain in domains or ():
        if domain not in known:
            raise unknown_name("domain of this run", domain, known)
    reports = []
    chance = 0.0
    for domain in known if domains is None else [domain for domain in known if domain in domains]:
        clips = subject.clips_of(domain, say)
        say(f"probing on {len(clips.labels)} {domain} clips")
        models = subject.models(clips.clips.shape[1])
        chance = 1 / len(clips.class_names)
        majority = statistics.majority_share(clips.labels)
        expected = models.answers(clips)
        right = expected == clips.labels
        rows = []
        for name, probe in PROBES.items():
            same = name == INTACT
            given = expected if same else models.answers_to(clips, probe.apply(clips.clips, clips.clip_id))
            correct = given == clips.labels
            rows.append(
                ProbeRow(
                    name,
                    tuple(int(hits) for hits in correct.sum(axis=1)),
                    statistics.accuracy(correct),
                    None if same else paired_drop(right, correct),
                    float(np.mean(given != expected)),
                )
            )
        of = {row.probe: row for row in rows}
        above = statistics.above_guessing(of[INTACT].accuracy, chance, majority)
        answer, reason = uses_order({name: row.drop for name, row in of.items() if row.drop is not None}, above)
        reports.append(
            DomainProbes(
                domain=domain,
                split=clips.facts.split,
                n=len(clips.labels),
                content_hash=clips.facts.content_hash,
                majority=majority,
                above_guessing=above,
                uses_order=answer,
                reason=reason,
                rows=tuple(rows),
            )
        )
    return TemporalReport(title_of(subject), subject.to_json(), chance, tuple(reports))


def title_of(subject: Subject) -> str:
    config = subject.config
    checkpoint = "best V" if subject.level is None else f"level {subject.level:g}"
    seeds = f"{'seed' if len(subject.seeds) == 1 else 'seeds'} {', '.join(map(str, subject.seeds))}"
    return f"{model_title(config.model, config.hidden)}, trained on {config.source}; {seeds}; checkpoint: {checkpoint}"
