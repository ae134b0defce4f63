"""Models that are not ours, by name: ``kind:name`` to a module that takes the clips of this benchmark.

Each model gets what it was made for: the clip's one channel repeated to three where it wants colours, frames and sides
resampled where its layers only fit one size. Values stay in [0, 1]: nothing is normalised.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from benchmark.models.specs import ClipShape
from tsgen.common.errors import DataError, UsageError, unknown_name


@dataclass(frozen=True)
class Wanted:
    """What the layers of a model fit. None: whatever comes."""

    channels: int | None = None
    frames: int | None = None
    size: tuple[int, int] | None = None
    """Height and width in px."""


RGB = 3

FIXED = {"mvit_v1_b": (16, 224), "mvit_v2_s": (16, 224)}
"""Models of torchvision 0.29 with tables of positions: exactly so many frames of so many px a side."""

LEAST = {"s3d": (16, 224)}
"""At least so many frames and px a side: its last pooling window, 2x7x7, gets no full map below 13 and 209."""


def build_outside(name: str, shape: ClipShape, num_classes: int) -> nn.Module:
    """``kind:name`` to a module in training mode, clips (B, T, C, H, W) in [0, 1] to logits (B, num_classes).

    It has passed one clip of ``shape``. UsageError for an unknown name, a package that is not installed, a model that
    cannot be reached, or an answer of another shape; DataError for weights that do not fit the model they come with.
    """
    kind, _, rest = name.partition(":")
    if kind not in BUILDERS:
        raise unknown_name("kind of model", kind, BUILDERS)
    model = BUILDERS[kind](rest, shape, num_classes)
    _check_answer(name, model, shape, num_classes)
    return model.train()


def fit(clips: Tensor, wanted: Wanted) -> Tensor:
    """(B, T, C, H, W) to the wanted channels, frames and size, each left as it is where nothing is wanted.

    Channels: one is repeated. Frames: the ``floor((i + 0.5) * T / wanted)``-th, the nearest in even steps. Size:
    bilinear with antialiasing, aspect ratio not kept.
    """
    B, T, C, H, W = clips.shape
    if wanted.frames not in (None, T):
        index = [(2 * i + 1) * T // (2 * wanted.frames) for i in range(wanted.frames)]
        clips, T = clips[:, index], wanted.frames
    if wanted.size not in (None, (H, W)):
        images = F.interpolate(clips.reshape(B * T, C, H, W), wanted.size, mode="bilinear", antialias=True)
        clips = images.reshape(B, T, C, *wanted.size)
    if wanted.channels not in (None, C):
        clips = clips.expand(-1, -1, wanted.channels, -1, -1)
    return clips


class Outside(nn.Module):
    """Fits the clips, then ``call(net, clips)`` for the logits."""

    def __init__(self, net: nn.Module, wanted: Wanted, call: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.net = net
        self.wanted = wanted
        self.call = call

    def forward(self, clips: Tensor) -> Tensor:
        return self.call(self.net, fit(clips, self.wanted))


class FrameMean(nn.Module):
    """An image model on every frame, the mean of its features over the frames, and a linear layer."""

    def __init__(self, net: nn.Module, wanted: Wanted, features: int, num_classes: int) -> None:
        super().__init__()
        self.net = net
        self.wanted = wanted
        self.head = nn.Linear(features, num_classes)

    def forward(self, clips: Tensor) -> Tensor:
        clips = fit(clips, self.wanted)
        B, T = clips.shape[:2]
        features = self.net(clips.flatten(0, 1))
        logits: Tensor = self.head(features.view(B, T, -1).mean(1))
        return logits


def _torchvision(name: str, shape: ClipShape, num_classes: int) -> nn.Module:
    models = _require("torchvision.models")
    names = models.list_models(module=_require("torchvision.models.video"))
    if name not in names:
        raise unknown_name("video model of torchvision", name, names)
    wanted = Wanted(_colours(name, shape))
    if name in FIXED:
        frames, side = FIXED[name]
        wanted = Wanted(wanted.channels, frames, (side, side))
    if name in LEAST:
        frames, side = LEAST[name]
        size = (max(side, shape.height), max(side, shape.width))
        wanted = Wanted(wanted.channels, max(frames, shape.frames), size)
    net = models.get_model(name, weights=None, num_classes=num_classes)
    return Outside(net, wanted, _channels_before_frames)


def _timm(name: str, shape: ClipShape, num_classes: int) -> nn.Module:
    timm = _require("timm")
    if not timm.is_model(name):
        names = timm.list_models()
        near = difflib.get_close_matches(name, names, n=5, cutoff=0.4)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise UsageError(f"unknown timm model {name!r}.{hint} timm.list_models() names all {len(names)}.")
    net = timm.create_model(name, pretrained=False, num_classes=0, in_chans=shape.channels)
    made_for = tuple(net.pretrained_cfg["input_size"][1:])
    sizes = [made_for] if net.pretrained_cfg.get("fixed_input_size") else [(shape.height, shape.width), made_for]
    for size in sizes:
        try:
            with torch.no_grad():
                features = net.eval()(torch.zeros(1, shape.channels, *size))
        except RuntimeError as problem:
            if size == made_for:
                raise UsageError(
                    f"timm:{name} fails on a frame of its own size {size}: {_first_line(problem)}"
                ) from problem
        else:
            break
    # Counted on what comes out: num_features is the width of an earlier layer in some models.
    return FrameMean(net, Wanted(size=size), features.shape[-1], num_classes)


def _hf(name: str, shape: ClipShape, num_classes: int) -> nn.Module:
    transformers = _require("transformers")
    if name.startswith((".", "/", "~")):
        folder = Path(name).expanduser()
        if not (folder / "config.json").is_file():
            raise UsageError(
                f"hf:{name}: there is no folder {folder} with a config.json; save_pretrained() writes one."
            )
        name = str(folder)
    verbosity = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()  # it would report the new classifier as a mismatch
    try:
        net, loaded = transformers.AutoModelForVideoClassification.from_pretrained(
            name,
            num_labels=num_classes,
            ignore_mismatched_sizes=True,  # the classifier was made for other classes; the rest is checked below
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except SafetensorError as problem:
        raise DataError(f"hf:{name}: the weights are damaged ({_first_line(problem)}); fetch them anew.") from problem
    except (OSError, ValueError) as problem:
        raise UsageError(
            f"hf:{name} cannot be loaded: {_first_line(problem)} Needed: a video classifier of transformers with "
            "safetensors weights, hf:ORG/REPO on a hub that can be reached or hf:./FOLDER on this machine."
        ) from problem
    finally:
        transformers.logging.set_verbosity(verbosity)
    lost = [*loaded["missing_keys"], *(key for key, *_ in loaded["mismatched_keys"])]
    lost = sorted(key for key in lost if key.startswith(net.base_model_prefix + "."))
    if lost:
        raise DataError(
            f"hf:{name}: {len(lost)} arrays below the classifier are absent or of another shape than config.json says, "
            f"{lost[0]} first; they would stay random."
        )
    config = net.config
    frames = getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None)
    side = getattr(config, "image_size", None) or getattr(config, "crop_size", None)
    size = (side, side) if isinstance(side, int) else side and (side[0], side[1])
    return Outside(net, Wanted(_colours(name, shape), frames, size), _logits)


def _py(name: str, shape: ClipShape, num_classes: int) -> nn.Module:
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise UsageError(f"py:{name} does not say what to call; give py:package.module:factory.")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # at the end: a file here cannot stand in for an installed package
    try:
        module = importlib.import_module(module_name)
    except ImportError as problem:
        raise UsageError(
            f"py:{name}: {_first_line(problem)}; modules are looked for in the current folder and on PYTHONPATH."
        ) from problem
    factory = getattr(module, attribute, None)
    if not callable(factory):
        callables = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise unknown_name(f"factory in {module_name}", attribute, callables)
    parameters = inspect.signature(factory).parameters.values()
    takes_shape = any(p.name == "shape" or p.kind is p.VAR_KEYWORD for p in parameters)
    net = factory(num_classes=num_classes, shape=shape) if takes_shape else factory(num_classes)
    if not isinstance(net, nn.Module):
        raise UsageError(f"py:{name} returned {type(net).__name__}; a factory returns a torch.nn.Module.")
    return Outside(net, Wanted(), _as_it_is)


BUILDERS: dict[str, Callable[[str, ClipShape, int], nn.Module]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "hf": _hf,
    "py": _py,
}


def _channels_before_frames(net: nn.Module, clips: Tensor) -> Tensor:
    logits: Tensor = net(clips.transpose(1, 2))
    return logits


def _logits(net: Any, clips: Tensor) -> Tensor:
    logits: Tensor = net(**{net.main_input_name: clips}).logits
    return logits


def _as_it_is(net: nn.Module, clips: Tensor) -> Tensor:
    logits: Tensor = net(clips)
    return logits


def _colours(name: str, shape: ClipShape) -> int:
    if shape.channels not in (1, RGB):
        raise UsageError(f"{name} wants 3 channels and the clips have {shape.channels}; 1 or 3 are possible.")
    return RGB


def _require(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as problem:  # RuntimeError: torchvision and torch that do not match
        raise UsageError(
            f"models of {module.partition('.')[0]} need its package ({_first_line(problem)}); install it with: "
            "pip install 'recur-attend-convolve[models]'."
        ) from problem


def _check_answer(name: str, model: nn.Module, shape: ClipShape, num_classes: int) -> None:
    """One clip of zeros through the model in evaluation mode; draws nothing at random, changes no statistic."""
    clip = torch.zeros(1, shape.frames, shape.channels, shape.height, shape.width)
    try:
        with torch.no_grad():
            answer = model.eval()(clip)
    except Exception as problem:
        raise UsageError(
            f"{name} fails on one clip (B, T, C, H, W) = {tuple(clip.shape)}: {type(problem).__name__}: "
            f"{_first_line(problem)}"
        ) from problem
    if not isinstance(answer, Tensor) or answer.shape != (1, num_classes):
        got = f"shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else type(answer).__name__
        raise UsageError(f"{name} answers one clip with {got}; logits of shape (1, {num_classes}) are needed.")


def _first_line(problem: BaseException) -> str:
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0]
