"""Whole sessions: from labelled frames to a segmenter's folder, and from a segmenter to its metrics."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torchvision

from diving48_domains.labels import LabelledFrame
from diving48_domains.metrics import FrameScore, ScoreOptions, SegmentationMetrics, score_frames
from diving48_domains.segmenter.checkpoint import CARD_NAME, read_card, save_segmenter
from diving48_domains.segmenter.data import PUBLISHED_VAL_SHARE, check_split, content_hash, read_labelled, split_frames
from diving48_domains.segmenter.network import build_network
from diving48_domains.segmenter.predict import Segmenter, select_device
from diving48_domains.segmenter.train import Epoch, TrainOptions, begun_spec, check_same_training, elapsed, fit
from diving48_domains.segmenter.weights import start_network
from tsgen.common import VERSION
from tsgen.common.errors import UsageError
from tsgen.common.files import sha256_file

STATE_NAME = "state.safetensors"
Say = Callable[[str], None]


@dataclass(frozen=True)
class LabelSource:
    """Where labelled frames come from and how they are divided.

    ``labels``, ``images``: see :func:`data.read_labelled`; ``val``: labelled frames to validate on, in any form; where
    neither it nor ``labels`` names any, ``split`` and ``val_share`` divide ``labels``.
    """

    labels: Path
    images: Path | None = None
    val: Path | None = None
    split: str = "random"
    val_share: float = PUBLISHED_VAL_SHARE

    def __post_init__(self) -> None:
        check_split(self.split, self.val_share)

    def read(self, seed: int) -> tuple[tuple[LabelledFrame, ...], tuple[LabelledFrame, ...], str]:
        """(train, val, how they were divided: "given", "random" or "source")."""
        train, val = read_labelled(self.labels, self.images)
        if self.val is not None:
            if val:
                raise UsageError(
                    f"{self.labels} has its own val/; leave --val away or give --labels {self.labels / 'train'}."
                )
            first, second = read_labelled(self.val)
            val = second or first
        if val:
            return train, val, "given"
        return *split_frames(train, self.split, self.val_share, seed), self.split


def train_segmenter(
    source: LabelSource,
    out: Path,
    options: TrainOptions,
    *,
    resume: bool = False,
    device: str = "auto",
    threads: int | None = None,
    say: Say = lambda line: None,
    quiet: bool = False,
    watch: Callable[[Epoch], None] = lambda epoch: None,
) -> dict[str, Any]:
    """Train and leave a segmenter in the folder ``out``; gives back the content of its ``segmenter.json``.

    Until the end the folder holds only the state to go on from, which ``resume`` needs; ``resume`` of a finished
    training does nothing. UsageError when ``out`` holds anything and ``resume`` was not asked for, and when what it
    holds was begun or made with other ``options`` or other labelled frames.
    """
    where = select_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    if (out / CARD_NAME).exists():
        if not resume:
            raise UsageError(f"--out {out} holds a segmenter; give another folder.")
        card = read_card(out)[1]
        found = card.get("frames")
        check_same_training(
            out, card.get("options"), options, found.get("sha256") if isinstance(found, dict) else None,
            _identity(*source.read(options.seed)[:2]),
        )  # fmt: skip
        say(f"{out} is finished: nothing to do.")
        return card
    state = out / STATE_NAME
    if out.exists() and not resume and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out} exists; add --resume to go on with a training in it, or give another folder.")
    train, val, split = source.read(options.seed)
    identity = _identity(train, val)
    out.mkdir(parents=True, exist_ok=True)
    begun = state.exists()
    if begun:  # it needs no weights to start from: they need not be fetched again
        spec = begun_spec(state)
        network = build_network(spec, options.seed)
    else:
        network, spec = start_network(options.arch, options.weights, options.seed)
    say(
        f"{options.arch}: {len(train)} labelled frames to train on, {len(val)} to validate, "
        f"at most {options.epochs} epochs on {where}{', going on' if begun else ''}"
    )
    start = time.monotonic()
    fitted = fit(
        network, spec, train, val, options,
        state=state, identity=identity, device=where, quiet=quiet, watch=watch,
    )  # fmt: skip
    best = fitted.best
    card = save_segmenter(
        out,
        spec,
        fitted.weights,
        {
            "options": options.to_json(),
            "weights_sha256": _file_hash(options.weights),
            "frames": {"train": len(train), "val": len(val), "split": split, "sha256": identity},
            "best_epoch": best.number,
            "epochs": len(fitted.history),
            # In the order of the record: the state that a resumed training reads has them sorted by name.
            "validation": {one.name: best.metrics[one.name] for one in fields(SegmentationMetrics)},
            "history": [{"epoch": one.number, "loss": one.loss, "score": one.score} for one in fitted.history],
            "versions": {
                "recur-attend-convolve": VERSION,
                "torch": torch.__version__,
                "torchvision": torchvision.__version__,
                "python": platform.python_version(),
            },
        },
    )
    state.unlink(missing_ok=True)
    say(f"{out}: epoch {best.number} of {len(fitted.history)} is the best ({elapsed(start)})")
    return card


def evaluate_segmenter(
    segmenter: Segmenter, frames: Sequence[LabelledFrame], options: ScoreOptions, quiet: bool = False
) -> tuple[SegmentationMetrics, tuple[FrameScore, ...], tuple[tuple[Any, ...], ...]]:
    """Metrics, each frame's score and each frame's detections on labelled frames, which may differ in size."""
    from tqdm import tqdm

    detections = tuple(
        segmenter.instances(frame.read_image()[None])[0]
        for frame in tqdm(frames, unit="frame", disable=True if quiet else None)
    )
    metrics, scores = score_frames(detections, [frame.masks for frame in frames], options)
    return metrics, scores, detections


def _identity(train: Sequence[LabelledFrame], val: Sequence[LabelledFrame]) -> str:
    return content_hash(train) + content_hash(val)


def _file_hash(weights: str) -> str:
    return sha256_file(Path(weights)) if Path(weights).is_file() else ""
