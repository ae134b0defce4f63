"""The model families. A new one is one module, one spec record and one row of ``MODELS``.

Importing this module imports no torch; :func:`build_model` does.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.models.specs import TEMPORAL_SHAPE, ClipShape, CNN3DSpec, ConvLSTMSpec, Spec, TimeSformerSpec
from tsgen.common.errors import UsageError, unknown_name
from tsgen.vocabulary import CLASS_NAMES

if TYPE_CHECKING:
    from torch import nn

MAX_HIDDEN = 4096
PAPER_HIDDEN = (2, 4, 6, 8, 10, 12, 16, 24, 32, 48)
"""Hidden units a layer in section 3.2; for the TimeSformer D_h, the width of a head."""


@dataclass(frozen=True)
class ModelFamily:
    """A family of section 3.1 and its protocol on Temporal Shape (section 3.2).

    ``spec_of`` maps hidden units h to the layers of the Temporal Shape experiments; ``max_epochs`` and ``patience`` are
    the paper's, which gives attention three times the epochs.
    """

    title: str
    spec_of: Callable[[int], Spec]
    max_epochs: int = 100
    patience: int = 10


MODELS: dict[str, ModelFamily] = {
    "3dcnn": ModelFamily("3D CNN", lambda h: CNN3DSpec((h,) * 3, (3,) * 3, (True,) * 3)),
    "convlstm": ModelFamily("ConvLSTM", lambda h: ConvLSTMSpec((h,) * 3, (3,) * 3)),
    "timesf-8": ModelFamily("TimeSformer-8", lambda h: TimeSformerSpec(h, heads=8, depth=3), 300, 100),
    "timesf-1": ModelFamily("TimeSformer-1", lambda h: TimeSformerSpec(h, heads=1, depth=3), 300, 100),
}

VIDEO_MODELS: dict[str, ModelFamily] = {
    "3dcnn-4l": ModelFamily("3D CNN, 4 layers", lambda h: CNN3DSpec((h,) * 4, (7, 7, 5, 3), (True,) * 4), 500, 30),
    "3dcnn-6l": ModelFamily(
        "3D CNN, 6 layers",
        lambda h: CNN3DSpec((h,) * 6, (7, 7, 7, 5, 3, 3), (True,) * 6, pool_padding=1),
        500,
        30,
    ),
    "3dcnn-11l": ModelFamily(
        "3D CNN, 11 layers",
        lambda h: CNN3DSpec(
            tuple(max(1, h * quarters // 4) for quarters in (1, 2, 4, 4, 4, 8, 8, 8, 16, 16, 16)),
            (5, *(3,) * 10),
            tuple(block in {3, 5, 7, 10} for block in range(1, 12)),
            pool_padding=1,
        ),
        500,
        30,
    ),
    "convlstm-4l": ModelFamily(
        "ConvLSTM, 4 layers", lambda h: ConvLSTMSpec((h,) * 4, (7, 7, 5, 3), stride=2, readout="all"), 500, 30
    ),
    "convlstm-4l-small": ModelFamily(
        "ConvLSTM, 4 layers, stride 1",
        lambda h: ConvLSTMSpec((h,) * 4, (7, 7, 5, 3), stride=1, readout="all"),
        500,
        30,
    ),
    "timesf-3l": ModelFamily("TimeSformer, 3 layers", lambda h: TimeSformerSpec(h, heads=8, depth=3), 500, 30),
    "timesf-4l": ModelFamily("TimeSformer, 4 layers", lambda h: TimeSformerSpec(h, heads=8, depth=4), 500, 30),
    "timesf-11l": ModelFamily("TimeSformer, 11 layers", lambda h: TimeSformerSpec(h, heads=8, depth=11), 500, 30),
    "timesf-12l": ModelFamily("TimeSformer, 12 layers", lambda h: TimeSformerSpec(h, heads=8, depth=12), 500, 30),
    "timesf-12l-dropout": ModelFamily(
        "TimeSformer, 12 layers, dropout 0.1",
        lambda h: TimeSformerSpec(h, heads=8, depth=12, attention_dropout=0.1, feed_forward_dropout=0.1),
        500,
        30,
    ),
    "timesf-12l-linear": ModelFamily(
        "TimeSformer, 12 layers, extra linear layer",
        lambda h: TimeSformerSpec(h, heads=8, depth=12, extra_linear=True),
        500,
        30,
    ),
}
"""The families of the Diving48 experiments (supplement, Tables 9 and 10), for clips in colour. The paper has h = 128,
in timesf-11l h = 32, in timesf-3l and timesf-12l h = 64; smaller ones keep the structure, so that a CPU can train them.
The strides and pools of convlstm-4l leave nothing of frames below 171 px: convlstm-4l-small is for those."""

FAMILIES: dict[str, ModelFamily] = {**MODELS, **VIDEO_MODELS}

CLASSES: dict[type[Spec], str] = {
    CNN3DSpec: "benchmark.models.cnn3d:CNN3D",
    ConvLSTMSpec: "benchmark.models.convlstm:ConvLSTM",
    TimeSformerSpec: "benchmark.models.timesformer:TimeSformer",
}
"""Spec -> ``module:class``, which takes (spec, clip shape, classes) and maps (B, T, C, H, W) to (B, classes)."""

OUTSIDE: dict[str, str] = {
    "torchvision": "a video classifier of torchvision.models.video, like torchvision:r3d_18",
    "timm": "an image model of timm on every frame, features averaged over time, like timm:resnet18",
    "hf": "a video classifier of transformers, like hf:ORG/REPO; never its own code",
    "py": "your own code on this machine: py:package.module:factory",
}
"""Kinds of models that are not ours, ``kind:name``; :mod:`benchmark.models.outside` builds them."""


def is_outside(name: str) -> bool:
    return ":" in name


def get_model_family(name: str) -> ModelFamily | None:
    """None for a model from outside, which has no hidden units to choose; UsageError for an unknown name."""
    if is_outside(name):
        kind, _, rest = name.partition(":")
        if kind not in OUTSIDE:
            raise unknown_name("kind of model", kind, OUTSIDE)
        if not rest:
            raise UsageError(f"model {name!r} has no name after the colon; {kind}: {OUTSIDE[kind]}.")
        return None
    if name not in FAMILIES:
        raise unknown_name("model", name, FAMILIES)
    return FAMILIES[name]


def check_model(name: str, hidden: int) -> None:
    """UsageError unless ``name`` is a model that can have ``hidden`` units a layer (0: a model from outside)."""
    family = get_model_family(name)
    if family is None:
        if hidden:
            raise UsageError(f"{name} has its own layers; leave --hidden out.")
        return
    if not 1 <= hidden <= MAX_HIDDEN:
        raise UsageError(f"hidden {hidden} is not possible; allowed: 1..{MAX_HIDDEN} hidden units a layer.")
    if isinstance(family.spec_of(hidden), TimeSformerSpec) and hidden % 2:
        raise UsageError(f"hidden {hidden} is not possible for {name}: rotary embeddings turn pairs; give an even one.")


def model_title(name: str, hidden: int) -> str:
    family = get_model_family(name)
    return f"{family.title}, {hidden} hidden units a layer" if family else name


def can_stack(name: str, hidden: int) -> bool:
    """Whether several models train together as each would alone.

    Not models from outside, of unknown layers, and not those with dropout: each seed draws random numbers of its own.
    """
    family = get_model_family(name)
    if family is None:
        return False
    spec = family.spec_of(hidden)
    return not (isinstance(spec, TimeSformerSpec) and spec.drops)


def require_torch() -> None:
    try:
        importlib.import_module("torch")
        importlib.import_module("safetensors")
    except ImportError as problem:
        raise UsageError(
            f"this command needs PyTorch ({problem}); install it with: pip install 'recur-attend-convolve[train]'."
        ) from problem


def build(spec: Spec, shape: ClipShape, num_classes: int) -> nn.Module:
    """A freshly initialised model of one of our families; the weights follow torch's global random state."""
    module, _, attribute = CLASSES[type(spec)].partition(":")
    model: nn.Module = getattr(importlib.import_module(module), attribute)(spec, shape, num_classes)
    return model


def build_model(
    name: str, hidden: int, num_classes: int = len(CLASS_NAMES), shape: ClipShape = TEMPORAL_SHAPE
) -> nn.Module:
    """Any model by name, (B, T, C, H, W) in [0, 1] to logits (B, num_classes)."""
    check_model(name, hidden)
    family = get_model_family(name)
    if family is None:
        from benchmark.models.outside import build_outside

        return build_outside(name, shape, num_classes)
    return build(family.spec_of(hidden), shape, num_classes)


def count_parameters(spec: Spec, shape: ClipShape = TEMPORAL_SHAPE, num_classes: int = len(CLASS_NAMES)) -> int:
    """Trainable parameters, counted on torch's meta device: no memory is allocated."""
    require_torch()
    import torch

    with torch.device("meta"):
        return trainable_parameters(build(spec, shape, num_classes))


def trainable_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
