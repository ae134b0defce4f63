"""What determines the numbers of a run, as one frozen record. Where it runs and where files lie is not in it."""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass
from typing import Any

from benchmark.experiments import TIMESFORMER_VARIANTS
from benchmark.models import FAMILIES, check_model, is_outside
from tsgen.common.errors import DataError, UsageError, unknown_name

TARGETS: dict[str, tuple[str, ...]] = {
    "2dot": ("5dot", "mnist", "mnist-bg"),
    "mnist-bg": ("mnist", "5dot", "2dot"),
}
"""Source domain of Temporal Shape -> target domains, as in section 4.1 of the paper."""

VIDEO_SOURCE = "V"
"""Diving48: training and validation clips of the V2 training list (section 4.2)."""

VIDEO_TARGETS = ("O", "C", "S1", "S2", "T", "T_union", "B")
"""Its test clips: as they are (O), through the same steps without an edit (C), shape, texture and controls."""

DOMAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
MAX_SEED = 2**63 - 1
PRECISIONS = ("fp32", "tf32", "bf16")
"""Of convolutions and products; weights, statistics and update are float32. tf32 is a mode of NVIDIA GPUs."""
OPTIMIZERS = ("sgd", "adam")
LATER = ("optimizer", "target_domains")
"""Fields that came after records were published: one that holds its default is not written, so those stay as they are.
"""


@dataclass(frozen=True)
class RunConfig:
    """The defaults are the paper's protocol: SGD at a constant rate, early stopping on source-validation accuracy.

    ``target_domains``: of videos, where they are not VIDEO_TARGETS. ``momentum`` is for sgd alone; adam has beta1 0.9
    and beta2 0.999.
    """

    model: str = "3dcnn"
    hidden: int = 8
    source: str = "2dot"
    preset: str = "paper"
    seeds: tuple[int, ...] = (42, 61, 47, 53, 57)
    data_seed: int = 0
    n_train: int = 4000
    n_val: int = 1000
    n_target: int = 500
    max_epochs: int = 100
    patience: int = 10
    batch_size: int = 64
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 1e-5
    precision: str = "fp32"
    optimizer: str = "sgd"
    target_domains: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_model(self.model, self.hidden)
        if self.source not in (*TARGETS, VIDEO_SOURCE):
            raise unknown_name("source", self.source, (*TARGETS, VIDEO_SOURCE))
        if self.precision not in PRECISIONS:
            raise unknown_name("precision", self.precision, PRECISIONS)
        if self.optimizer not in OPTIMIZERS:
            raise unknown_name("optimizer", self.optimizer, OPTIMIZERS)
        self._check_target_domains()
        if not self.seeds:
            raise UsageError("no seeds given; give at least one, like --seeds 42.")
        for seed in (*self.seeds, self.data_seed):
            if not 0 <= seed <= MAX_SEED:
                raise UsageError(f"seed {seed} is not possible; allowed: 0..2**63-1.")
        repeated = sorted({seed for seed in self.seeds if self.seeds.count(seed) > 1})
        if repeated:
            raise UsageError(f"seeds given twice: {', '.join(map(str, repeated))}; each run needs its own.")
        for name in ("n_train", "n_val", "n_target", "max_epochs", "patience", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} {getattr(self, name)} is not possible; allowed: 1 or more.")
        if self.n_train < self.batch_size:
            raise UsageError(
                f"n_train {self.n_train} is less than one batch of {self.batch_size}; "
                "the last incomplete batch is dropped, so nothing would be left to train on."
            )
        for name in ("learning_rate", "momentum", "weight_decay"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise UsageError(f"{name} {getattr(self, name)} is not possible; allowed: 0 or more.")

    def _check_target_domains(self) -> None:
        names = self.target_domains
        if names and self.source != VIDEO_SOURCE:
            raise UsageError(f"the targets of {self.source} are {', '.join(TARGETS[self.source])}; leave others out.")
        for name in names:
            if not DOMAIN_NAME.fullmatch(name) or name == VIDEO_SOURCE:
                raise UsageError(
                    f"domain {name!r} is not possible; allowed: up to 64 letters, digits and _.- that begin with a "
                    f"letter or digit, other than {VIDEO_SOURCE}."
                )
        if len(set(names)) != len(names):
            raise UsageError(f"a target domain is given twice: {', '.join(names)}.")
        if names == VIDEO_TARGETS:  # one way to say it
            object.__setattr__(self, "target_domains", ())

    @property
    def targets(self) -> tuple[str, ...]:
        if self.target_domains:
            return self.target_domains
        return VIDEO_TARGETS if self.source == VIDEO_SOURCE else TARGETS[self.source]

    @property
    def flips(self) -> bool:
        """Whether training clips are mirrored with probability 1/2: videos are, drawn motions have a direction."""
        return self.source == VIDEO_SOURCE

    @property
    def update_rule(self) -> str:
        """The optimizer and its numbers, in words."""
        how = f"Adam {self.learning_rate:g}"
        if self.optimizer == "sgd":
            how = f"SGD {self.learning_rate:g}, momentum {self.momentum:g}"
        return f"{how}, weight decay {self.weight_decay:g}"

    @property
    def short_name(self) -> str:
        """Model and source as a name of a file: ``3dcnn-h8-2dot``."""
        model = re.sub(r"[^A-Za-z0-9.]+", "-", self.model).strip("-.")
        return f"{model}{f'-h{self.hidden}' if self.hidden else ''}-{self.source}"

    def to_json(self) -> dict[str, Any]:
        """A record of JSON's types, without the fields of LATER that hold their default."""
        value = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        kept = {name: each for name, each in value.items() if name not in LATER or each != _DEFAULTS[name]}
        return {name: list(each) if isinstance(each, tuple) else each for name, each in kept.items()}

    @classmethod
    def from_json(cls, value: Any, where: str) -> RunConfig:
        """The record stored as JSON; DataError, naming ``where``, when it is damaged or of another version."""
        known = {name: type(default) for name, default in _DEFAULTS.items()}
        required = set(known) - set(LATER)
        if not isinstance(value, dict) or not required <= set(value) <= set(known):
            raise DataError(f"{where} does not hold the fields of a run: {', '.join(known)}.")
        given = {name: kind for name, kind in known.items() if name in value}
        for name, kind in given.items():
            if type(value[name]) is not (list if kind is tuple else kind):
                raise DataError(f"{where}: {name} is {value[name]!r}, which is no {kind.__name__}.")
        if any(type(seed) is not int for seed in value["seeds"]):
            raise DataError(f"{where}: seeds {value['seeds']!r} are not whole numbers.")
        if any(type(name) is not str for name in value.get("target_domains", ())):
            raise DataError(f"{where}: target_domains {value['target_domains']!r} are not texts.")
        try:
            fields: dict[str, Any] = {
                name: tuple(value[name]) if kind is tuple else value[name] for name, kind in given.items()
            }
            return cls(**fields)
        except UsageError as problem:
            raise DataError(f"{where}: {problem}") from problem

    def differences(self, other: RunConfig) -> list[str]:
        """One line a field that differs: ``name: self -> other``."""
        pairs = {name: (getattr(self, name), getattr(other, name)) for name in _DEFAULTS}
        return [f"{name}: {mine} -> {theirs}" for name, (mine, theirs) in pairs.items() if mine != theirs]


_DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(RunConfig)}


PRESETS: dict[str, RunConfig] = {
    "paper": RunConfig(),
    # A first look in minutes: a higher learning rate gets in four epochs where the paper's gets in ten.
    "quick": RunConfig(preset="quick", seeds=(42,), max_epochs=4, learning_rate=3e-3),
    # Section 4.2: eight GPUs with eight clips each; sizes of the V2 lists, a tenth of the training list is V.
    "d48": RunConfig(
        model="3dcnn-4l",
        hidden=128,
        source=VIDEO_SOURCE,
        preset="d48",
        seeds=(42,),
        data_seed=42,
        n_train=13525,
        n_val=1502,
        n_target=1970,
        max_epochs=500,
        patience=30,
    ),
}
PRESETS |= {
    name: dataclasses.replace(
        PRESETS["d48"],
        preset=name,
        model=variant.contender.model,
        hidden=variant.contender.hidden,
        batch_size=variant.batch_size,
        patience=variant.patience,
        optimizer=variant.optimizer,
    )
    for name, variant in TIMESFORMER_VARIANTS.items()
}


def make_config(preset: str, **overrides: Any) -> RunConfig:
    """The preset with every override that is not None; epochs and patience of the paper are those of the family.

    UsageError where a preset is a certain architecture and ``model`` another.
    """
    if preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    base = PRESETS[preset]
    given = {name: value for name, value in overrides.items() if value is not None}
    model = given.get("model", base.model)
    if preset in TIMESFORMER_VARIANTS and model != base.model:
        raise UsageError(f"preset {preset} is {base.model}, not {model}; leave --model out, or take --preset d48.")
    if is_outside(model):
        given.setdefault("hidden", 0)
    elif model in FAMILIES and preset == "paper":
        given.setdefault("max_epochs", FAMILIES[model].max_epochs)
        given.setdefault("patience", FAMILIES[model].patience)
    return dataclasses.replace(base, **given)


def parse_seeds(text: str) -> tuple[int, ...]:
    """``"42,61"`` -> (42, 61)."""
    return parse_numbers("seeds", text)


def parse_numbers(what: str, text: str) -> tuple[int, ...]:
    """``"2,8"`` -> (2, 8); UsageError, naming ``what``, for anything else."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        verb = "are" if what.endswith("s") else "is"
        raise UsageError(f"{what} {text!r} {verb} not whole numbers separated by commas, like 8,16.") from None


def parse_names(text: str) -> tuple[str, ...]:
    """``"3dcnn, convlstm"`` -> ("3dcnn", "convlstm")."""
    return tuple(part.strip() for part in text.split(","))
