"""Small labelled frames: a bright two-limbed figure on grey noise, easy enough to be learnt in seconds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from diving48_domains.labels import read_labels, write_label

torch.set_num_threads(1)

H, W = 64, 96


def figure(rng):
    """Frame uint8 (H, W, 3) and its mask bool (1, H, W)."""
    frame = np.clip(rng.normal(90, 12, (H, W, 3)), 0, 255)
    mask = np.zeros((H, W), dtype=bool)
    x, y = int(rng.integers(8, W - 34)), int(rng.integers(6, H - 36))
    mask[y : y + 30, x : x + 10] = True
    mask[y + 20 : y + 30, x : x + 26] = True
    frame[mask] = (230, 120, 60)
    return frame.astype(np.uint8), mask[None]


def write_frames(folder, count, seed=0):
    rng = np.random.default_rng(seed)
    for number in range(count):
        frame, mask = figure(rng)
        write_label(folder, f"source{number // 3:05d}_{number:05d}_{number:06d}", frame, mask)
    return folder


@pytest.fixture(scope="session")
def labels(tmp_path_factory):
    """A folder with images/ and masks/ of 12 frames, 3 a source video."""
    return write_frames(tmp_path_factory.mktemp("labels"), 12)


@pytest.fixture(scope="session")
def frames(labels):
    return read_labels(labels)
