"""The experiments of the paper as data: which architectures meet on which clips, at which validation accuracy.

And the TimeSformers that were tried before (supplement, Table 10): which architecture, on how many frames, trained how.

Architectures are those that the printed parameter counts pin down (main paper section 3.3, supplement Table 9).
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.models import VIDEO_MODELS
from benchmark.models.specs import Spec
from tsgen.common.errors import UsageError

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


GPUS = 8
"""Of the paper's trainings on Diving48. Batch sizes are read as those of one GPU, all of which share a step."""


@dataclass(frozen=True)
class Variant:
    """A TimeSformer of the supplement's Table 10: 8 heads, 16x16 px patches, rate 1e-3, weight decay 1e-5, no weights
    from elsewhere.

    ``frames``: T of a clip. ``published_percent``: the best source-validation accuracy, printed without an interval,
    reached in ``published_epochs``. ``batch_of_gpu``: clips.
    """

    contender: Contender
    frames: int
    published_percent: float
    published_epochs: int
    optimizer: str = "sgd"
    batch_of_gpu: int = 8
    patience: int = 30

    @property
    def batch_size(self) -> int:
        """Clips a step."""
        return GPUS * self.batch_of_gpu


TIMESFORMER_VARIANTS: dict[str, Variant] = {
    "d48-timesf-1": Variant(Contender("timesf-12l-linear", 64), 8, 32.7, 88),
    "d48-timesf-2": Variant(Contender("timesf-12l", 64), 8, 31.5, 84),
    "d48-timesf-3": Variant(Contender("timesf-3l", 64), 32, 36.1, 78),
    "d48-timesf-4": Variant(Contender("timesf-4l", 128), 32, 39.7, 122),
    "d48-timesf-5": Variant(Contender("timesf-12l-dropout", 64), 8, 31.1, 76),
    "d48-timesf-6": Variant(Contender("timesf-11l", 32), 8, 31.7, 71),
    "d48-timesf-7": Variant(Contender("timesf-11l", 32), 32, 36.5, 85),
    "d48-timesf-8": Variant(Contender("timesf-11l", 32), 32, 19.0, 79, optimizer="adam"),
    "d48-timesf-9": Variant(Contender("timesf-11l", 32), 8, 31.7, 75, optimizer="adam", batch_of_gpu=32),
    "d48-timesf-10": Variant(Contender("timesf-11l", 32), 8, 32.4, 133, batch_of_gpu=48),
    "d48-timesf-11": Variant(Contender("timesf-11l", 32), 32, 36.5, 85, patience=75),
}
"""Preset -> row of Table 10, in its order. Row 4 is the model of experiments a-c, row 7 that of e and f."""


def check_frames(preset: str, frames: int) -> None:
    """UsageError when ``preset`` is a row of Table 10 that takes clips of another number of frames."""
    variant = TIMESFORMER_VARIANTS.get(preset)
    if variant is None or variant.frames == frames:
        return
    fitting = [name for name, other in TIMESFORMER_VARIANTS.items() if other.frames == frames]
    instead = f", or take one for {frames} frames: {', '.join(fitting)}" if fitting else ""
    raise UsageError(
        f"--preset {preset} is for clips of {variant.frames} frames, those of --data have {frames}; pack and build "
        f"them with --frames {variant.frames}{instead}."
    )
