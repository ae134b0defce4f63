"""The promise of ``tiny``: trained from scratch on 290 mini-Diving48 frames, it finds divers in clips it never saw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from diving48_domains.labels import write_label
from diving48_domains.metrics import ScoreOptions
from diving48_domains.mini.clip import draw_clip, render_plan
from diving48_domains.mini.config import PUBLISHED_LABELS, MiniConfig
from diving48_domains.segmenter.data import read_labelled
from diving48_domains.segmenter.predict import load_segmenter
from diving48_domains.segmenter.session import LabelSource, evaluate_segmenter, train_segmenter
from diving48_domains.segmenter.train import make_options

MINI = MiniConfig(train=400, rho=0.8, seed=0)
LABELLED_SHARE = 2 / 3  # as published: no frame from the last third of a dive is labelled


def write_still(folder, split, index):
    """One frame of a clip in which all its divers show, rendered alone."""
    plan = draw_clip(MINI, split, index)
    for number in np.random.default_rng([index, 7]).permutation(int(plan.num_frames * LABELLED_SHARE)):
        moment = replace(plan, start_s=plan.start_s + number / plan.fps, num_frames=1)
        clip = render_plan(moment, MINI.height, MINI.width)
        if clip.masks.any(axis=(2, 3)).all():
            write_label(folder, f"{clip.clip_id}_{number:06d}", clip.frames[0], clip.masks[:, 0])
            return


@pytest.mark.slow
def test_tiny_finds_divers_in_unseen_clips(tmp_path):
    train, val = PUBLISHED_LABELS
    for index in range(train):
        write_still(tmp_path / "labels" / "train", "train", index)
    for index in range(val):
        write_still(tmp_path / "labels" / "val", "train", MINI.train - 1 - index)
    for index in range(240):
        write_still(tmp_path / "unseen", "test", index)

    train_segmenter(LabelSource(tmp_path / "labels"), tmp_path / "tiny", make_options("tiny"), device="cpu", threads=1)
    frames, _ = read_labelled(tmp_path / "unseen")
    metrics, _, _ = evaluate_segmenter(
        load_segmenter(tmp_path / "tiny", device="cpu"), frames, ScoreOptions(), quiet=True
    )
    assert metrics.frames_with_divers == 240
    assert metrics.matched_mask_iou >= 0.6, metrics
    assert metrics.frame_recall >= 0.97, metrics
