"""Metrics of segmentation against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from diving48_domains.instances import Instance
from diving48_domains.metrics import (
    ScoreOptions,
    average_precision,
    box_iou,
    instance_pixels,
    mask_iou,
    match,
    score_frame,
    score_frames,
)
from tsgen.common.errors import DataError, UsageError

H, W = 40, 60


def rectangle(x0, y0, x1, y1):
    mask = np.zeros((H, W), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def found(mask, score=0.9):
    return Instance.of_pixels(mask, score)


def truth(*masks):
    return np.array(masks, dtype=bool).reshape(-1, H, W)


def test_iou_of_boxes_is_half_open():
    boxes = box_iou(np.array([[0, 0, 10, 10]]), np.array([[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10]]))
    assert boxes.tolist() == [[1.0, 50 / 150, 0.0]]


def test_iou_of_masks():
    a, b = rectangle(0, 0, 10, 10), rectangle(0, 5, 10, 10)
    assert mask_iou(truth(a), truth(b, rectangle(30, 30, 31, 31))).tolist() == [[0.5, 0.0]]
    assert mask_iou(truth(), truth(a)).shape == (0, 1)
    assert mask_iou(truth(np.zeros((H, W), bool)), truth(np.zeros((H, W), bool))).tolist() == [[0.0]]


def test_a_soft_mask_is_cut_in_the_frame():
    soft = np.full((28, 28), 128, dtype=np.uint8)  # 128 / 255 = 0.502
    one = Instance(np.array([10.0, 10.0, 40.0, 30.0]), 0.9, soft)
    assert instance_pixels([one], H, W, 0.5)[0, 20, 25]
    assert not instance_pixels([one], H, W, 0.51).any()
    assert instance_pixels([one], H, W, 0.0).sum() > 30 * 20  # t = 0: a little more than the box


def test_pairs_maximize_the_sum_and_need_overlap():
    ious = np.array([[0.6, 0.5], [0.5, 0.0], [0.0, 0.0]])
    assert match(ious) == [(0, 1), (1, 0)]  # not greedy: 0.5 + 0.5 > 0.6


def test_a_missed_diver_and_a_false_keep():
    diver, other = rectangle(5, 5, 15, 25), rectangle(40, 5, 50, 25)
    half = rectangle(5, 5, 15, 15)
    score = score_frame(
        [found(half), found(rectangle(20, 30, 30, 38)), found(other, 0.4)], truth(diver, other), ScoreOptions()
    )
    assert score.diver_ious == (0.5, 0.0)
    assert (score.found, score.false_keeps) == (1, 1)
    assert score.badness == pytest.approx(0.5 + 1 + 1)


def test_metrics_over_frames():
    diver = rectangle(5, 5, 15, 25)
    far = rectangle(40, 30, 50, 38)
    frames = [
        ([found(diver)], truth(diver)),  # found, IoU 1
        ([found(rectangle(5, 5, 15, 15))], truth(diver)),  # found, IoU 0.5
        ([found(far)], truth(diver)),  # missed, one false keep
        ([], truth(diver)),  # missed
        ([found(far)], truth()),  # no diver, one false keep
        ([found(rectangle(5, 5, 15, 7))], truth(diver)),  # IoU 0.1: too little to be found, a false keep
    ]
    metrics, scores = score_frames([one for one, _ in frames], [masks for _, masks in frames])
    assert (metrics.frames, metrics.frames_with_divers, metrics.divers, metrics.kept) == (6, 5, 5, 5)
    assert metrics.matched_mask_iou == pytest.approx(0.75)
    assert metrics.diver_mask_iou == pytest.approx((1 + 0.5 + 0.1) / 5)
    assert metrics.frame_recall == metrics.diver_recall == pytest.approx(2 / 5)
    assert metrics.false_keeps_per_frame == pytest.approx(3 / 6)
    assert [score.false_keeps for score in scores] == [0, 0, 1, 0, 1, 1]


def test_frame_recall_asks_for_one_diver_and_diver_recall_for_each():
    first, second = rectangle(5, 5, 15, 25), rectangle(40, 5, 50, 25)
    metrics, _ = score_frames([[found(first)]], [truth(first, second)])
    assert (metrics.frame_recall, metrics.diver_recall) == (1.0, 0.5)


def test_nothing_to_measure_is_none_not_zero():
    metrics, _ = score_frames([[]], [truth()])
    assert metrics.matched_mask_iou is metrics.diver_mask_iou is metrics.frame_recall is metrics.mask_ap is None
    assert metrics.best_tenth_box_iou is None
    assert metrics.false_keeps_per_frame == 0


def test_average_precision_by_hand():
    """Scores .9 (hit), .8 (false), .7 (hit) over 2 divers: precision 1 up to recall .5, then 2/3."""
    frames = [
        (np.array([0.9, 0.8]), np.array([[0.8], [0.3]])),
        (np.array([0.7]), np.array([[0.7]])),
    ]
    expected = (51 * 1 + 50 * 2 / 3) / 101  # recalls 0..0.5 are 51 of the 101 points
    assert average_precision(frames, 0.5) == pytest.approx(expected)
    assert average_precision(frames, 0.75) == pytest.approx(51 / 101)
    assert average_precision(frames, 0.9) == 0


def test_average_precision_counts_a_second_detection_as_false():
    twice = [(np.array([0.9, 0.8, 0.7]), np.array([[0.9, 0.0], [0.95, 0.0], [0.0, 0.9]]))]
    assert average_precision(twice, 0.5) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_average_precision_takes_the_best_free_diver():
    """The first detection overlaps both; taking the lesser one would leave the second detection without."""
    both = [(np.array([0.9, 0.8]), np.array([[0.6, 0.8], [0.7, 0.1]]))]
    assert average_precision(both, 0.5) == 1.0
    assert average_precision([(np.zeros(0), np.zeros((0, 2)))], 0.5) == 0.0
    assert average_precision([(np.array([0.5]), np.zeros((1, 0)))], 0.5) is None


def test_ap_of_exact_detections_is_one_and_falls_with_iou():
    diver = rectangle(5, 5, 15, 25)
    exact, _ = score_frames([[found(diver)]], [truth(diver)])
    assert exact.box_ap == exact.mask_ap == exact.mask_ap50 == 1.0
    loose, _ = score_frames([[found(rectangle(5, 5, 15, 20))]], [truth(diver)])  # IoU 0.75: 6 of the 10 thresholds
    assert loose.box_ap == loose.mask_ap == pytest.approx(0.6)


def test_the_papers_figure_is_the_best_tenth_against_the_first_diver():
    first, second = rectangle(0, 0, 10, 10), rectangle(20, 0, 30, 10)
    wrong = [found(rectangle(40, 20, 50, 30), 0.9) for _ in range(17)]
    instances = [found(second), found(first, 0.06), found(rectangle(0, 0, 10, 5)), *wrong]  # 20: the best 2
    metrics, _ = score_frames([instances], [truth(first, second)])
    assert metrics.best_tenth_box_iou == pytest.approx((1 + 0.5) / 2)


def test_bad_options_and_unequal_lengths():
    for bad in ({"mask_threshold": 1.0}, {"mask_threshold": -0.1}, {"score_threshold": 1.5}):
        with pytest.raises(UsageError, match="threshold lies in"):
            ScoreOptions(**bad)
    with pytest.raises(DataError, match="detections of 1 frames for 2"):
        score_frames([[]], [truth(), truth()])
