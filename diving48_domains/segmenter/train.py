"""Training a segmenter: seeded, resumable at every epoch, best by validation (Section 4.2 of the paper).

Every random choice of an epoch is drawn from (seed, epoch), so an interrupted training that goes on ends with the
weights of one that was not interrupted, bit for bit on a CPU with the same number of threads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.models.detection import MaskRCNN
from tqdm import tqdm

from diving48_domains.labels import LabelledFrame
from diving48_domains.metrics import ScoreOptions, SegmentationMetrics, score_frames
from diving48_domains.segmenter import ARCHITECTURES
from diving48_domains.segmenter.checkpoint import load_tensors, read_facts, save_tensors
from diving48_domains.segmenter.data import Augment, example
from diving48_domains.segmenter.network import DetectOptions, NetworkSpec, losses
from diving48_domains.segmenter.predict import Segmenter
from tsgen.common.errors import DataError, UsageError, unknown_name

SCHEDULES = ("constant", "cosine")
OPTIMIZERS = ("sgd", "adamw")


@dataclass(frozen=True)
class TrainOptions:
    """Everything that decides what training gives, besides the frames.

    The defaults are those of resnet50, which are the paper's (SGD, 5e-3, momentum 0.9, weight decay 5e-4, batch 2, at
    most 100 epochs, patience 20, mirroring) plus a schedule: a linear warm-up over the first epoch, then a half cosine
    to 1 % of ``learning_rate`` at ``epochs``. :data:`RECIPES` has tiny's. ``patience``: epochs in a row without a
    better validation score; ``clip_norm``: bound of the gradient's norm, 0 for none; ``seed`` 0 <= s < 2^32.
    """

    arch: str = "resnet50"
    weights: str = "coco"
    seed: int = 0
    epochs: int = 100
    patience: int = 20
    batch_size: int = 2
    optimizer: str = "sgd"
    learning_rate: float = 5e-3
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: str = "cosine"
    clip_norm: float = 0.0
    augment: Augment = field(default_factory=lambda: Augment(flip=0.5))

    def __post_init__(self) -> None:
        for kind, value, table in (
            ("architecture", self.arch, ARCHITECTURES),
            ("schedule", self.schedule, SCHEDULES),
            ("optimizer", self.optimizer, OPTIMIZERS),
        ):
            if value not in table:
                raise unknown_name(kind, value, table)
        if not 0 <= self.seed < 2**32:
            raise UsageError(f"--seed lies in 0 <= seed < 2^32, got {self.seed}.")
        if min(self.epochs, self.patience, self.batch_size) < 1:
            raise UsageError(
                "epochs, patience and batch size are at least 1, "
                f"got {self.epochs}, {self.patience}, {self.batch_size}."
            )
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise UsageError(f"a learning rate is a number over 0, got {self.learning_rate}.")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


TINY_RECIPE = TrainOptions(
    arch="tiny",
    weights="none",
    epochs=30,
    patience=30,
    batch_size=2,
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=0.02,
    clip_norm=5.0,
    augment=Augment(flip=0.5, scale=0.3, rotate_degrees=20, shift=0.1, colour=0.2, noise=0.02),
)

RANDOM_START_CLIP_NORM = TINY_RECIPE.clip_norm

RECIPES: dict[str, TrainOptions] = {"resnet50": TrainOptions(), "tiny": TINY_RECIPE}


def make_options(arch: str, **changes: Any) -> TrainOptions:
    """The recipe of an architecture with some fields changed; None leaves a field as it is.

    From random weights the published rate makes resnet50 diverge, so its gradient is then bounded, unless ``clip_norm``
    says otherwise.
    """
    if arch not in RECIPES:
        raise unknown_name("architecture", arch, RECIPES)
    given = {name: value for name, value in changes.items() if value is not None}
    if given.get("weights") == "none":
        given.setdefault("clip_norm", RANDOM_START_CLIP_NORM)
    return replace(RECIPES[arch], **given)


@dataclass(frozen=True)
class Epoch:
    """One epoch: mean training loss, the validation score that selection goes by, and all validation metrics."""

    number: int
    loss: float
    score: float
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Fitted:
    """The best epoch's weights (on the CPU), and the history of all."""

    weights: dict[str, Tensor]
    best: Epoch
    history: tuple[Epoch, ...]


def validation_score(metrics: SegmentationMetrics) -> float:
    """What the best epoch is chosen by: mean mask IoU over all divers less a tenth of the false keeps a frame.

    A diver that is not found counts 0, so recall is part of it; a frame's ten false keeps weigh as much as its diver.
    """
    return (metrics.diver_mask_iou or 0.0) - 0.1 * (metrics.false_keeps_per_frame or 0.0)


def fit(
    network: MaskRCNN,
    spec: NetworkSpec,
    train: Sequence[LabelledFrame],
    val: Sequence[LabelledFrame],
    options: TrainOptions,
    *,
    state: Path | None = None,
    identity: str = "",
    device: torch.device | None = None,
    quiet: bool = False,
    watch: Callable[[Epoch], None] = lambda epoch: None,
) -> Fitted:
    """Train until the epochs or the patience end; the weights of the best validation score, the first of equals.

    ``state``: a file that holds everything needed to go on and is replaced after every epoch; where it exists,
    training goes on from it, and UsageError is raised when it was made with other ``options`` or another ``identity``
    (the frames' hash). ``watch`` is called after an epoch is on disk.
    """
    if not train or not val:
        raise DataError(f"{len(train)} frames to train on and {len(val)} to validate; at least 1 of each.")
    if not any(frame.masks.any() for frame in train):
        raise DataError(f"none of the {len(train)} training frames has a labelled diver.")
    where = device or torch.device("cpu")
    network.to(where)
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = _optimizer(parameters, options)
    facts = {"options": options.to_json(), "identity": identity, "network": asdict(spec)}
    history, best = _take_up(state, facts, options, network, optimizer) if state and state.exists() else ([], {})
    steps = math.ceil(len(train) / options.batch_size)
    with tqdm(
        total=options.epochs * steps, initial=len(history) * steps, unit="step", disable=True if quiet else None
    ) as bar:
        while not _is_over(history, options):
            number = len(history) + 1
            loss = _train_epoch(network, parameters, optimizer, train, options, number, where, bar)
            metrics = validate(network, spec, val, where)
            epoch = Epoch(number, loss, validation_score(metrics), metrics.to_json())
            if not history or epoch.score > max(one.score for one in history):
                best = {name: tensor.detach().to("cpu").clone() for name, tensor in network.state_dict().items()}
            history.append(epoch)
            bar.set_postfix(epoch=number, loss=f"{loss:.3f}", val=f"{epoch.score:.3f}", refresh=False)
            if state:
                save_tensors(
                    state,
                    _packed(network, optimizer, best),
                    {**facts, "history": [asdict(one) for one in history]},
                )
            watch(epoch)
    return Fitted(best, max(history, key=lambda one: one.score), tuple(history))


def validate(
    network: MaskRCNN, spec: NetworkSpec, frames: Sequence[LabelledFrame], device: torch.device
) -> SegmentationMetrics:
    """Metrics of the network as it stands on labelled frames; frames may differ in size."""
    network.eval()
    segmenter = Segmenter(network, spec, device, "", {}, DetectOptions())
    detections = [segmenter.instances(frame.read_image()[None])[0] for frame in frames]
    return score_frames(detections, [frame.masks for frame in frames], ScoreOptions())[0]


def _train_epoch(
    network: MaskRCNN,
    parameters: list[torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    frames: Sequence[LabelledFrame],
    options: TrainOptions,
    number: int,
    device: torch.device,
    bar: Any,
) -> float:
    """Mean loss of one epoch. Everything random comes from (seed, number)."""
    network.train()
    order = _rng(options.seed, number, 0).permutation(len(frames))
    steps = math.ceil(len(frames) / options.batch_size)
    total = torch.zeros((), dtype=torch.float64)
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):  # torchvision samples anchors and proposals by the global generator
        torch.manual_seed(options.seed * 1_000_003 + number)
        for step in range(steps):
            chosen = order[step * options.batch_size : (step + 1) * options.batch_size].tolist()
            pairs = [example(frames[i], options.augment, _rng(options.seed, number, 1 + i)) for i in chosen]
            images = [image.to(device) for image, _ in pairs]
            targets = [{name: value.to(device) for name, value in target.items()} for _, target in pairs]
            rate = learning_rate(options, (number - 1) * steps + step, steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = torch.stack(list(losses(network, images, targets).values())).sum()
            if not torch.isfinite(loss):
                raise DataError(
                    f"the loss is not finite in epoch {number}; use a smaller --learning-rate than "
                    f"{options.learning_rate:g}."
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            if options.clip_norm:
                torch.nn.utils.clip_grad_norm_(parameters, options.clip_norm)
            optimizer.step()
            total += loss.detach().to("cpu", torch.float64)
            bar.update()
    return float(total) / steps


def learning_rate(options: TrainOptions, step: int, steps_an_epoch: int) -> float:
    """The rate of a step, counted from 0: warm-up over the first epoch, then the schedule."""
    if step < steps_an_epoch and options.epochs > 1:
        return options.learning_rate * (step + 1) / steps_an_epoch
    if options.schedule == "constant" or options.epochs == 1:
        return options.learning_rate
    done = (step - steps_an_epoch) / ((options.epochs - 1) * steps_an_epoch)
    return options.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


def _rng(seed: int, epoch: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[seed, (epoch << 32) + stream]))


def _optimizer(parameters: list[torch.nn.Parameter], options: TrainOptions) -> torch.optim.Optimizer:
    if options.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=options.learning_rate, weight_decay=options.weight_decay)
    return torch.optim.SGD(
        parameters, lr=options.learning_rate, momentum=options.momentum, weight_decay=options.weight_decay
    )


def _is_over(history: Sequence[Epoch], options: TrainOptions) -> bool:
    if len(history) >= options.epochs:
        return True
    best = max(range(len(history)), key=lambda index: history[index].score, default=0)
    return bool(history) and len(history) - 1 - best >= options.patience


def _packed(network: MaskRCNN, optimizer: torch.optim.Optimizer, best: dict[str, Tensor]) -> dict[str, Tensor]:
    """Network, optimizer and best weights as one flat table of tensors."""
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for index, entries in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in entries.items() if isinstance(value, Tensor)}
    return tensors


def _take_up(
    path: Path, facts: dict[str, Any], options: TrainOptions, network: MaskRCNN, optimizer: torch.optim.Optimizer
) -> tuple[list[Epoch], dict[str, Tensor]]:
    """Put a training back where its state file left it."""
    tensors, found = load_tensors(path)
    check_same_training(path, found.get("options"), options, found.get("identity"), facts["identity"])
    entries: dict[int, dict[str, Tensor]] = {}
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}}
    try:
        history = [Epoch(**one) for one in found["history"]]
        for name, tensor in tensors.items():
            kind, _, rest = name.partition(".")
            if kind == "optimizer":
                index, _, key = rest.partition(".")
                entries.setdefault(int(index), {})[key] = tensor
            else:
                parts[kind][rest] = tensor
        network.load_state_dict(parts["network"])
        optimizer.load_state_dict({"state": entries, "param_groups": optimizer.state_dict()["param_groups"]})
    except (KeyError, TypeError, ValueError, RuntimeError) as problem:
        raise DataError(f"{path} is no state of this training ({problem}); remove it to begin again.") from problem
    return history, parts["best"]


def check_same_training(path: Path, found: Any, options: TrainOptions, found_identity: Any, identity: str) -> None:
    """UsageError naming what differs when the training in ``path`` had other options or other labelled frames.

    ``found`` and ``found_identity``: as read from ``path``; the identity is the hash of the frames as divided.
    """
    wanted = options.to_json()
    if not isinstance(found, dict):
        raise DataError(f"{path} holds no options of a training; give another --out.")
    differing = [
        f"{name.replace('_', ' ')} {shorten(str(found.get(name)), 40)}, not {shorten(str(value), 40)}"
        for name, value in wanted.items()
        if found.get(name) != value
    ]
    if differing:
        raise UsageError(f"{path} was begun with other options ({'; '.join(differing)}); give those, or another --out.")
    if found_identity != identity:
        raise UsageError(
            f"{path} was begun with other labelled frames, or with them divided otherwise; give the same --labels, "
            "--val, --split and --val-share, or another --out."
        )


def begun_spec(path: Path) -> NetworkSpec:
    """The network that a state file belongs to."""
    found = read_facts(path).get("network")
    if not isinstance(found, dict) or set(found) != {"arch", "norm"}:
        raise DataError(f"{path} is no state of a training; remove it to begin again.")
    return NetworkSpec(str(found["arch"]), str(found["norm"]))


def elapsed(start: float) -> str:
    """Time since ``start`` (of time.monotonic()) as minutes and seconds."""
    minutes, seconds = divmod(round(time.monotonic() - start), 60)
    return f"{minutes} min {seconds} s"
