"""The networks: sizes, seeds, and that cutting torchvision's forward into parts changes nothing but the resizing."""

from __future__ import annotations

import pytest
import torch
from torchvision.models.detection import maskrcnn_resnet50_fpn
from torchvision.models.detection.roi_heads import paste_masks_in_image

from diving48_domains.segmenter.network import (
    DetectOptions,
    NetworkSpec,
    build_network,
    detect,
    losses,
    parameter_count,
)
from tsgen.common.errors import DataError, UsageError

TINY = NetworkSpec("tiny", "group")


def test_tiny_is_small_and_seeded():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (build_network(TINY, seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert parameter_count(first) <= 1_500_000
    weights = [network.state_dict()["backbone.stages.0.0.weight"] for network in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_resnet50_is_torchvisions_network():
    """Same tensors as torchvision's, and the same detections where that is told not to resize."""
    ours = build_network(NetworkSpec("resnet50", "batch"), seed=3).eval()
    assert ours.roi_heads.box_predictor.cls_score.weight.shape == (2, 1024)
    assert ours.roi_heads.mask_predictor.conv5_mask.weight.shape == (256, 256, 2, 2)  # hidden 256
    theirs = maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=2, min_size=96, max_size=128, box_score_thresh=0.0,
        box_detections_per_img=5, rpn_post_nms_top_n_test=20,
    ).eval()  # fmt: skip
    theirs.load_state_dict(ours.state_dict())
    image = torch.rand(1, 3, 96, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs(list(image))[0]
    options = DetectOptions(score_threshold=0.0, max_detections=5, max_proposals=20)
    found = detect(ours, image, options)[0]
    assert len(found["boxes"]) == len(expected["boxes"]) > 0
    torch.testing.assert_close(found["boxes"], expected["boxes"], rtol=0, atol=1e-3)
    torch.testing.assert_close(found["scores"], expected["scores"])
    pasted = paste_masks_in_image(found["masks"][:, None], found["boxes"], (96, 128))
    torch.testing.assert_close(pasted, expected["masks"], rtol=0, atol=1e-3)


def test_losses_are_torchvisions():
    network = build_network(TINY).train()
    image = torch.rand(3, 64, 96)
    mask = torch.zeros(1, 64, 96, dtype=torch.uint8)
    mask[0, 10:40, 20:50] = 1
    target = {
        "boxes": torch.tensor([[20.0, 10.0, 50.0, 40.0]]),
        "labels": torch.ones(1, dtype=torch.int64),
        "masks": mask,
    }
    found = losses(network, [image, image[:, :48]], [target, {**target, "masks": mask[:, :48]}])
    assert set(found) == {"loss_classifier", "loss_box_reg", "loss_mask", "loss_objectness", "loss_rpn_box_reg"}
    torch.stack(list(found.values())).sum().backward()
    silent = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert not silent, f"no gradient: {silent}"


def test_caps_hold_and_batches_do_not_matter():
    network = build_network(TINY).eval()
    images = torch.rand(3, 3, 70, 90)
    options = DetectOptions(score_threshold=0.0, max_detections=4)
    together = detect(network, images, options)
    assert all(len(one["boxes"]) == 4 and one["masks"].shape == (4, 28, 28) for one in together)
    for image, one in zip(images, together, strict=True):
        alone = detect(network, image[None], options)[0]
        torch.testing.assert_close(alone["boxes"], one["boxes"], rtol=1e-4, atol=1e-3)
        assert (one["boxes"][:, 2] <= 90).all() and (one["boxes"][:, 3] <= 70).all()
        assert (one["scores"].diff() <= 0).all()


@pytest.mark.parametrize("height", [33, 65, 120])
def test_pooling_scales_do_not_come_from_the_first_frame(height):
    """torchvision guesses strides from the first frame it sees; padding makes that wrong for small ones."""
    network = build_network(TINY).eval()
    detect(network, torch.rand(1, 3, height, height), DetectOptions())
    assert network.roi_heads.mask_roi_pool.scales == network.roi_heads.box_roi_pool.scales == [1 / 2]


def test_bad_input_is_named():
    with pytest.raises(DataError, match="at least 32 px on a side, got 40x20"):
        detect(build_network(TINY), torch.zeros(1, 3, 20, 40), DetectOptions())
    with pytest.raises(UsageError, match="Did you mean 'tiny'"):
        NetworkSpec("tinny", "group")
    with pytest.raises(UsageError, match="tiny has no norm 'batch'"):
        NetworkSpec("tiny", "batch")
    for bad in ({"score_threshold": 1.0}, {"score_threshold": float("nan")}, {"max_detections": 0}, {"nms_iou": 0.0}):
        with pytest.raises(UsageError):
            DetectOptions(**bad)
