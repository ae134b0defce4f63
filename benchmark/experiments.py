"""The experiments of the paper as data: which architectures meet on which clips, at which validation accuracy.

Architectures are those that the printed parameter counts pin down (main paper section 3.3, supplement Table 9).
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.models.specs import CNN3DSpec, ConvLSTMSpec, Spec, TimeSformerSpec

DIVING48_CLASSES = 48

_CONVLSTM = ConvLSTMSpec((128,) * 4, (7, 7, 5, 3), stride=2, readout="all")
_CNN_LAYERS = CNN3DSpec((128,) * 4, (7, 7, 5, 3), (True,) * 4)
_CNN_PARAMETERS = CNN3DSpec((128,) * 6, (7, 7, 7, 5, 3, 3), (True,) * 6, pool_padding=1)
_CNN_BEST = CNN3DSpec(
    (32, 64, 128, 128, 128, 256, 256, 256, 512, 512, 512),
    (5, *(3,) * 10),
    tuple(block in {3, 5, 7, 10} for block in range(1, 12)),
    pool_padding=1,
)
_TIMESF_LAYERS = TimeSformerSpec(128, heads=8, depth=4)
_TIMESF_PARAMETERS = TimeSformerSpec(32, heads=8, depth=11)


@dataclass(frozen=True)
class Experiment:
    """One of a-h on Diving48. ``matched_by``: what was made equal besides the level.

    ``level``: the source-validation accuracy at which checkpoints are compared. ``models``: family title -> layers;
    a family that did not reach the level is absent.
    """

    matched_by: str
    level: float
    models: dict[str, Spec]


def _layers(level: float) -> Experiment:
    models: dict[str, Spec] = {"3D CNN": _CNN_LAYERS, "ConvLSTM": _CONVLSTM, "TimeSformer": _TIMESF_LAYERS}
    return Experiment("layer structure", level, models)


def _parameters(level: float, *, attention: bool) -> Experiment:
    models: dict[str, Spec] = {"3D CNN": _CNN_PARAMETERS, "ConvLSTM": _CONVLSTM}
    if attention:
        models["TimeSformer"] = _TIMESF_PARAMETERS
    return Experiment("number of parameters", level, models)


DIVING48_EXPERIMENTS: dict[str, Experiment] = {
    "a": _layers(0.30),
    "b": _layers(0.35),
    "c": _layers(0.383),
    "d": Experiment("best variants", 0.5007, {"3D CNN": _CNN_BEST, "ConvLSTM": _CONVLSTM}),
    "e": _parameters(0.30, attention=True),
    "f": _parameters(0.35, attention=True),
    "g": _parameters(0.40, attention=False),
    "h": _parameters(0.45, attention=False),
}
