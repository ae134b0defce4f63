"""Dose-response: accuracy and rr of a run over one dial of tsgen, on clips that are paired across the doses."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark import statistics
from benchmark.data import Clips, DataFacts
from benchmark.probes.curve import HALF, HalfDose, half_doses
from benchmark.probes.tables import interval, table
from benchmark.probes.temporal import SCHEMA_VERSION, title_of
from benchmark.statistics import Estimate
from tsgen.common.errors import UsageError, unknown_name
from tsgen.common.intervals import LEVEL
from tsgen.vocabulary import CLASS_NAMES

if TYPE_CHECKING:
    from benchmark.probes.subject import Subject
    from tsgen.domains import Domain

MAX_DOSES = 100
SPLIT = "test"


@dataclass(frozen=True)
class Dial:
    """``fields`` of tsgen.Domain that take the dose; ``needs`` names a property the base must have, "" for none."""

    kind: type
    fields: tuple[str, ...]
    needs: str = ""


DIALS: dict[str, Dial] = {
    "width_px": Dial(int, ("width_px",)),
    "contrast": Dial(float, ("contrast",)),
    "intensity": Dial(float, ("intensity",), "has_noise"),
    "sigma": Dial(int, ("sigma_low", "sigma_high"), "has_noise"),
    "sigma_low": Dial(int, ("sigma_low",), "has_noise"),
    "sigma_high": Dial(int, ("sigma_high",), "has_noise"),
    "speed_factor": Dial(float, ("speed_factor",)),
    "num_frames": Dial(int, ("num_frames",)),
}
"""``sigma`` is one grain for all clips. Not here: size_px, which the linear layers of the models fix."""


@dataclass(frozen=True)
class Dose:
    """One point of the curve. ``digest``: of the recipe of its clips."""

    dose: float
    hits: tuple[int, ...]
    accuracy: Estimate
    rr: Estimate | None
    rr_chance_corrected: Estimate | None
    digest: str

    def to_json(self) -> dict[str, Any]:
        return {
            "dose": self.dose,
            "hits_per_seed": list(self.hits),
            "accuracy": self.accuracy.to_json(),
            "rr": None if self.rr is None else self.rr.to_json(),
            "rr_chance_corrected": None if self.rr_chance_corrected is None else self.rr_chance_corrected.to_json(),
            "recipe_digest": self.digest,
        }


@dataclass(frozen=True)
class DoseReport:
    """``half``: where rr and rr* pass 1/2; None where V is not above guessing, so that both mean nothing."""

    title: str
    subject: dict[str, Any]
    dial: str
    base: dict[str, Any]
    n: int
    chance: float
    V: Estimate
    doses: tuple[Dose, ...]
    half: dict[str, tuple[HalfDose, HalfDose]] | None

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "kind": "dose-response",
            **self.subject,
            "interval_level": LEVEL,
            "chance": self.chance,
            "dial": self.dial,
            "base_domain": self.base,
            "split": SPLIT,
            "n": self.n,
            "source_validation": self.V.to_json(),
            "doses": [dose.to_json() for dose in self.doses],
            "half_robustness_dose": self.half
            and {scale: [passage.to_json() for passage in passages] for scale, passages in self.half.items()},
        }

    def render(self) -> str:
        cells = [[self.dial, "accuracy", "95% interval", "rr", "95% interval", "rr*", "95% interval"]]
        for dose in self.doses:
            ratios: list[str] = [
                text
                for ratio in (dose.rr, dose.rr_chance_corrected)
                for text in (("-", "") if ratio is None else (f"{ratio.value:.3f}", interval(ratio)))
            ]
            cells.append([f"{dose.dose:g}", f"{dose.accuracy.value:.3f}", interval(dose.accuracy), *ratios])
        base = self.base["name"]
        blocks = [
            f"{self.title}\n{base} with {self.dial} turned, {self.n} {SPLIT} clips that move alike at every dose; "
            f"V = {self.V.value:.3f} [{self.V.low:.3f}, {self.V.high:.3f}]",
            table(cells, ">>>>>>>"),
        ]
        if self.half is None:
            blocks.append("half-robustness dose: none; V is not above guessing, so rr and rr* mean nothing here.")
        else:
            lines = ["half-robustness dose"]
            for scale, passages in self.half.items():
                lines += [f"  {scale:3} {passage.describe(self.dial)}" for passage in passages]
            guessing = self.chance / self.V.value
            if guessing >= HALF:
                lines.append(f"WARNING: guessing alone has an rr of {guessing:.2f} here; only rr* can pass 1/2.")
            blocks.append("\n".join(lines))
        return "\n\n".join(blocks)


def parse_values(dial: str, text: str) -> tuple[float, ...]:
    """``"1,2,3"`` as rising values of the dial's type. UsageError for an unknown dial or what is no such list."""
    if dial not in DIALS:
        raise unknown_name("dial", dial, DIALS)
    kind = DIALS[dial].kind
    try:
        values = sorted(kind(part) for part in text.split(","))
    except ValueError:
        what = "whole numbers" if kind is int else "numbers"
        raise UsageError(f"values {text!r} of {dial} are not {what} separated by commas.") from None
    if not 2 <= len(values) <= MAX_DOSES:
        raise UsageError(f"{len(values)} values of {dial}; a curve takes 2..{MAX_DOSES}.")
    repeated = [value for value, following in itertools.pairwise(values) if value == following]
    if repeated:
        raise UsageError(f"values of {dial} name {repeated[0]:g} twice; give each once.")
    return tuple(values)


def probe_dose(
    subject: Subject,
    dial: str,
    values: Sequence[float],
    base: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> DoseReport:
    """``base``: a domain of tsgen or a domain file; None: the run's source. As many clips as a target of the run has.

    The domains differ in the dial alone and keep their stream: clip i moves alike at every dose. UsageError where the
    dial has no effect on the base, a value is out of range, or the model cannot take so many frames.
    """
    from tsgen.recipe import make_recipe

    config = subject.config
    known = make_recipe(base or config.source, 1, seed=config.data_seed, split=SPLIT, digits=subject.digits)[0].domain
    turned = _turned(known, dial, values)
    for domain in turned:  # a first clip of each: what cannot be made is refused before anything is evaluated
        classes = make_clips(domain, 1, config.data_seed, subject.digits).class_names
        if classes != CLASS_NAMES:
            raise UsageError(
                f"{known.name} has the classes {', '.join(classes)}; the model knows {', '.join(CLASS_NAMES)}."
            )
    models = {T: subject.models(T) for T in sorted({domain.num_frames for domain in turned})}
    val = subject.clips_of(config.source, say)
    right = subject.models(val.clips.shape[1]).answers(val) == val.labels
    V = statistics.accuracy(right)
    chance = 1 / len(val.class_names)
    doses = []
    for value, domain in zip(values, turned, strict=True):
        say(f"{config.n_target} clips of {domain.name} with {dial} {value:g}")
        clips = make_clips(domain, config.n_target, config.data_seed, subject.digits)
        correct = models[domain.num_frames].answers(clips) == clips.labels
        doses.append(
            Dose(
                dose=float(value),
                hits=tuple(int(hits) for hits in correct.sum(axis=1)),
                accuracy=statistics.accuracy(correct),
                rr=statistics.robustness_ratio(right, correct),
                rr_chance_corrected=statistics.chance_corrected(right, correct, chance),
                digest=clips.facts.recipe_digest,
            )
        )
    learned = statistics.above_guessing(V, chance, statistics.majority_share(val.labels))
    half = {
        scale: half_doses(values, [ratio for ratio in ratios if ratio is not None])
        for scale, ratios in (
            ("rr", [dose.rr for dose in doses]),
            ("rr*", [dose.rr_chance_corrected for dose in doses]),
        )
        if None not in ratios
    }
    return DoseReport(
        title=title_of(subject),
        subject=subject.to_json(),
        dial=dial,
        base=known.to_json(),
        n=config.n_target,
        chance=chance,
        V=V,
        doses=tuple(doses),
        half=half if learned else None,
    )


def make_clips(domain: Domain, n: int, seed: int, digits: str | None) -> Clips:
    """Test clips 0..n-1 of a domain, in memory; the same that ``tsgen make`` writes."""
    import tsgen
    from tsgen.recipe import make_recipe

    recipe = make_recipe(domain, n, seed=seed, split=SPLIT, digits=digits)[0]
    rows = tsgen.TemporalShapes(domain, n, split=SPLIT, seed=seed, digits=digits).__getitems__(range(n))
    facts = DataFacts(
        domain=domain.name,
        split=SPLIT,
        profile=domain.profile,
        seed=seed,
        n=n,
        recipe_digest=recipe.digest,
        content_hash="",
        generator_version=tsgen.__version__,
        digits_source=recipe.digits_source,
        digits_sha256=recipe.digits_sha256,
    )
    return Clips(
        clips=np.stack([clip.numpy()[:, 0] for clip, _, _ in rows]),  # (T, 1, H, W) to (T, H, W)
        labels=np.array([label for _, label, _ in rows], dtype=np.int64),
        clip_id=np.array([clip_id for _, _, clip_id in rows], dtype=np.int64),
        class_names=tuple(recipe.to_json()["class_names"]),
        facts=facts,
    )


def _turned(base: Domain, dial: str, values: Sequence[float]) -> list[Domain]:
    if dial not in DIALS:
        raise unknown_name("dial", dial, DIALS)
    needs = DIALS[dial].needs
    if needs and not getattr(base, needs):
        raise UsageError(f"{dial} has no effect on {base.name}, whose background is black; try --base mnist-bg.")
    return [base.with_dials(**dict.fromkeys(DIALS[dial].fields, value)) for value in values]
