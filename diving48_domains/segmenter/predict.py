"""Detecting divers in the frames of a clip with a trained segmenter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models.detection import MaskRCNN

from diving48_domains.instances import Instance
from diving48_domains.segmenter.checkpoint import CARD_NAME, load_network
from diving48_domains.segmenter.network import DetectOptions, NetworkSpec, detect, to_images
from tsgen.common.errors import DataError, UsageError

PIXELS_A_BATCH = 8 * 160 * 120  # a batch of frames stays near a core's cache; a batch changes speed, not meaning
PIXELS_A_BATCH_GPU = 16 * 640 * 480


@dataclass(frozen=True)
class Segmenter:
    """A trained network on its device.

    ``sha256`` is that of its weights, ``facts`` the content of its ``segmenter.json``. The same frames on the same
    device with the same number of threads give the same instances.
    """

    network: MaskRCNN
    spec: NetworkSpec
    device: torch.device
    sha256: str
    facts: dict[str, Any]
    options: DetectOptions

    @property
    def name(self) -> str:
        """Architecture and the first digits of the weights' SHA-256, like "tiny-0123456789ab"."""
        return f"{self.spec.arch}-{self.sha256[:12]}"

    def instances(self, frames: NDArray[np.uint8]) -> tuple[tuple[Instance, ...], ...]:
        """The detections in each of the frames uint8 (T, H, W, 3), at their own size, best score first.

        At most ``options.max_detections`` a frame, with score over ``options.score_threshold``; the masks are soft,
        uint8 (28, 28), stretched over the box. Memory does not grow with T.
        """
        frames = np.asarray(frames)
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
            raise DataError(f"frames are uint8 (T, H, W, 3), got {frames.dtype} {frames.shape}.")
        total, height, width = frames.shape[:3]
        pixels = PIXELS_A_BATCH if self.device.type == "cpu" else PIXELS_A_BATCH_GPU
        batch = max(1, pixels // max(1, height * width))
        found: list[tuple[Instance, ...]] = []
        for start in range(0, total, batch):
            images = to_images(frames[start : start + batch], self.device)
            for one in detect(self.network, images, self.options):
                found.append(instances_of(one, height, width))
        return tuple(found)


def instances_of(found: dict[str, Tensor], height: int, width: int) -> tuple[Instance, ...]:
    """One frame's output of :func:`network.detect` as instances; boxes without extent in float32 are left out."""
    boxes = found["boxes"].cpu().numpy().astype(np.float32)
    boxes[:, 0::2] = boxes[:, 0::2].clip(0, width)
    boxes[:, 1::2] = boxes[:, 1::2].clip(0, height)
    scores = found["scores"].cpu().numpy().clip(0, 1)
    masks = found["masks"].mul(255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    return tuple(
        Instance(box, float(score), mask)
        for box, score, mask in zip(boxes, scores, masks, strict=True)
        if box[0] < box[2] and box[1] < box[3]
    )


def select_device(name: str) -> torch.device:
    """The device for "auto", "cpu", "cuda" or "cuda:N"; UsageError when there is no such device."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda") or (number and not number.isdigit()) or (kind == "cpu" and number):
        raise UsageError(f"unknown device {name!r}; allowed: auto, cpu, cuda, cuda:N.")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: PyTorch sees {torch.cuda.device_count()} GPUs; use --device cpu.")
    return torch.device(name)


def load_segmenter(
    folder: Path, *, options: DetectOptions | None = None, device: str = "auto", threads: int | None = None
) -> Segmenter:
    """The segmenter in a folder that ``d48dom train`` wrote; UsageError or DataError when it is none or damaged.

    ``threads``: of the CPU, for the whole process; None leaves torch's choice.
    """
    where = select_device(device)
    if threads is not None:
        if threads < 1:
            raise UsageError(f"--threads must be at least 1, got {threads}.")
        torch.set_num_threads(threads)
    network, spec, card = load_network(folder)
    digest = card["sha256"]
    if not isinstance(digest, str):
        raise DataError(f"{folder / CARD_NAME}: sha256 is no text.")
    return Segmenter(network.to(where), spec, where, digest, card, options or DetectOptions())
