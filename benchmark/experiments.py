"""The experiments of the paper as data: which architectures meet on which clips, at which validation accuracy.

Architectures are those that the printed parameter counts pin down (main paper section 3.3, supplement Table 9).
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.models import VIDEO_MODELS
from benchmark.models.specs import Spec

DIVING48_CLASSES = 48
PREFIX = "d48-"
"""Of the names of experiments a-h, as in ``--experiment d48-a``."""


@dataclass(frozen=True)
class Contender:
    """A family of :data:`benchmark.models.VIDEO_MODELS` at the paper's number of hidden units."""

    model: str
    hidden: int

    @property
    def spec(self) -> Spec:
        return VIDEO_MODELS[self.model].spec_of(self.hidden)


_CONVLSTM = Contender("convlstm-4l", 128)

LEAST_SIDE_PX = {"convlstm-4l": 171}
SMALL_FRAMES = {"convlstm-4l": "convlstm-4l-small"}
"""What takes the place of a family that cannot be built for frames with a side below LEAST_SIDE_PX."""


@dataclass(frozen=True)
class Experiment:
    """One of a-h on Diving48. ``matched_by``: what was made equal besides the level.

    ``level``: the source-validation accuracy at which checkpoints are compared. ``contenders``: family title -> model;
    a family that did not reach the level is absent.
    """

    matched_by: str
    level: float
    contenders: dict[str, Contender]

    @property
    def models(self) -> dict[str, Spec]:
        """Family title -> layers."""
        return {title: contender.spec for title, contender in self.contenders.items()}


def _layers(level: float) -> Experiment:
    contenders = {
        "3D CNN": Contender("3dcnn-4l", 128),
        "ConvLSTM": _CONVLSTM,
        "TimeSformer": Contender("timesf-4l", 128),
    }
    return Experiment("layer structure", level, contenders)


def _parameters(level: float, *, attention: bool) -> Experiment:
    contenders = {"3D CNN": Contender("3dcnn-6l", 128), "ConvLSTM": _CONVLSTM}
    if attention:
        contenders["TimeSformer"] = Contender("timesf-11l", 32)
    return Experiment("number of parameters", level, contenders)


DIVING48_EXPERIMENTS: dict[str, Experiment] = {
    "a": _layers(0.30),
    "b": _layers(0.35),
    "c": _layers(0.383),
    "d": Experiment("best variants", 0.5007, {"3D CNN": Contender("3dcnn-11l", 128), "ConvLSTM": _CONVLSTM}),
    "e": _parameters(0.30, attention=True),
    "f": _parameters(0.35, attention=True),
    "g": _parameters(0.40, attention=False),
    "h": _parameters(0.45, attention=False),
}
