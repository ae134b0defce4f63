"""The two networks: torchvision's Mask R-CNN with a ResNet-50, and a small one of its parts that a CPU can train.

Both have two classes, background and diver, work at the frame's own size and are called in the same two ways:
``losses`` for training, ``detect`` for detection. The published pipeline is ``resnet50`` with COCO weights, its box and
mask predictors replaced (Section 4.2 of the paper).
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FeaturePyramidNetwork, FrozenBatchNorm2d, MultiScaleRoIAlign

from diving48_domains.segmenter import ARCHITECTURES
from tsgen.common.errors import DataError, UsageError, unknown_name

NUM_CLASSES = 2  # background and diver
MASK_SIZE = 28  # side of the soft mask that the network gives for a box
MIN_SIDE = 32  # px; a frame smaller than the coarsest stride has no features
NORMS = ("frozen", "batch", "group")

TINY_CHANNELS = (32, 48, 64, 96)  # of the four stages, at strides 2, 4, 8 and 16
TINY_FPN = 64
TINY_MAX_PROPOSALS = 50
FINE = "fine"  # the name of tiny's map for RoIs, which gives no proposals


@dataclass(frozen=True)
class NetworkSpec:
    """What must be known to build a network before its weights are loaded.

    ``norm``: "frozen" (the statistics of pretrained weights, never updated), "batch" (resnet50 from random weights) or
    "group" (tiny).
    """

    arch: str = "resnet50"
    norm: str = "frozen"

    def __post_init__(self) -> None:
        if self.arch not in ARCHITECTURES:
            raise unknown_name("architecture", self.arch, ARCHITECTURES)
        allowed = ("group",) if self.arch == "tiny" else ("frozen", "batch")
        if self.norm not in allowed:
            raise UsageError(f"{self.arch} has no norm {self.norm!r}; allowed: {', '.join(allowed)}.")


@dataclass(frozen=True)
class DetectOptions:
    """How detections are chosen from the network's proposals.

    ``score_threshold`` 0 <= s < 1, torchvision's default 0.05; ``max_detections`` and ``max_proposals`` a frame, capped
    because a dive has one or two divers (torchvision: 100 and 1000); ``nms_iou`` 0 to 1.
    """

    score_threshold: float = 0.05
    max_detections: int = 10
    max_proposals: int = 50
    nms_iou: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.score_threshold < 1:
            raise UsageError(f"a score threshold lies in 0 <= s < 1, got {self.score_threshold}.")
        if self.max_detections < 1 or self.max_proposals < 1:
            raise UsageError(
                "at least one detection and one proposal a frame are needed, "
                f"got {self.max_detections} and {self.max_proposals}."
            )
        if not 0 < self.nms_iou <= 1:
            raise UsageError(f"the IoU of non-maximum suppression lies in 0 < u <= 1, got {self.nms_iou}.")


def build_network(spec: NetworkSpec, seed: int = 0) -> MaskRCNN:
    """The network on the CPU with random weights drawn from ``seed``; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _tiny() if spec.arch == "tiny" else _resnet50(spec.norm)
    _fix_scales(network)
    return network


def parameter_count(network: nn.Module) -> int:
    """Weights and biases, trainable or not."""
    return sum(parameter.numel() for parameter in network.parameters())


def losses(network: MaskRCNN, images: Sequence[Tensor], targets: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The five losses of Mask R-CNN for a batch in training mode.

    ``images`` float32 (3, H, W) in 0..1; ``targets`` torchvision's: boxes float32 (D, 4) px, labels int64 (D,), masks
    uint8 (D, H, W).
    """
    proposals_from, features, sizes = _features(network, images)
    proposals, first = network.rpn(proposals_from, _for_proposals(features), targets)
    _, second = network.roi_heads(features, proposals, sizes, targets)
    return {**second, **first}


def to_images(frames: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Frames uint8 (T, H, W, 3) to float32 (T, 3, H, W) in 0..1."""
    # A copy: torch warns of arrays that may not be written to, such as frames of a memory map.
    moved = torch.from_numpy(np.array(frames, dtype=np.uint8, order="C")).to(device)
    return moved.permute(0, 3, 1, 2).to(torch.float32).div_(255.0).contiguous()


@torch.no_grad()
def detect(network: MaskRCNN, images: Tensor, options: DetectOptions) -> list[dict[str, Tensor]]:
    """Detections of each image, best score first: boxes float32 (K, 4) px, scores (K,), masks (K, 28, 28) in 0..1.

    ``images`` float32 (T, 3, H, W) in 0..1, used at their own size. The masks stay box-local: torchvision's own forward
    would paste each into a whole frame.
    """
    height, width = images.shape[-2:]
    if min(height, width) < MIN_SIDE:
        raise DataError(f"frames must be at least {MIN_SIDE} px on a side, got {width}x{height}.")
    _apply(network, options)
    proposals_from, features, sizes = _features(network, list(images))
    proposals, _ = network.rpn(proposals_from, _for_proposals(features))
    found, _ = network.roi_heads(features, proposals, sizes)
    return [{"boxes": one["boxes"], "scores": one["scores"], "masks": one["masks"][:, 0]} for one in found]


def _apply(network: MaskRCNN, options: DetectOptions) -> None:
    heads, rpn = network.roi_heads, network.rpn
    heads.score_thresh, heads.nms_thresh = options.score_threshold, options.nms_iou
    heads.detections_per_img = options.max_detections
    rpn._post_nms_top_n = {**rpn._post_nms_top_n, "testing": options.max_proposals}


def _features(
    network: MaskRCNN, images: Sequence[Tensor]
) -> tuple[ImageList, dict[str, Tensor], list[tuple[int, int]]]:
    """The batch as torchvision's RPN wants it, the backbone's features, and each image's own (H, W).

    As torchvision's own forward, but without its resizing to 800 px: normalized, then padded to a common size.
    """
    prepare = network.transform
    batch = prepare.batch_images([prepare.normalize(image) for image in images], prepare.size_divisible)
    sizes = [(int(image.shape[-2]), int(image.shape[-1])) for image in images]
    return ImageList(batch, sizes), network.backbone(batch), sizes


def _for_proposals(features: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: feature for name, feature in features.items() if name != FINE}


def _resnet50(norm: str) -> MaskRCNN:
    """torchvision's maskrcnn_resnet50_fpn with two classes; its new predictors have 256 hidden channels (masks)."""
    frozen = norm == "frozen"
    layer: Any = FrozenBatchNorm2d if frozen else nn.BatchNorm2d
    backbone = resnet_fpn_backbone(
        backbone_name="resnet50", weights=None, norm_layer=layer, trainable_layers=3 if frozen else 5
    )
    network = MaskRCNN(backbone, NUM_CLASSES)
    for module in network.modules():
        if isinstance(module, FrozenBatchNorm2d):
            module.eps = 0.0  # torchvision's COCO weights were trained so
    return network


class TinyBackbone(nn.Module):
    """Four stages of residual blocks with GroupNorm and an FPN: features "0", "1", "2" at strides 4, 8 and 16.

    A diver's limbs are 3 to 8 px thick in frames of 160x120, so RoIs are cut from a map at stride 2: "fine" is the
    first stage's output plus the FPN's finest map.
    """

    out_channels = TINY_FPN

    def __init__(self) -> None:
        super().__init__()
        stages: list[nn.Module] = [_conv(3, TINY_CHANNELS[0], stride=2)]
        for before, after in itertools.pairwise(TINY_CHANNELS):
            stages.append(nn.Sequential(_conv(before, after, stride=2), Residual(after)))
        self.stages = nn.ModuleList(stages)
        self.fpn = FeaturePyramidNetwork(list(TINY_CHANNELS[1:]), TINY_FPN)
        self.lateral = nn.Conv2d(TINY_CHANNELS[0], TINY_FPN, 1)

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        coarse: OrderedDict[str, Tensor] = OrderedDict()
        first = x = self.stages[0](x)
        for number, stage in enumerate(self.stages[1:]):
            coarse[str(number)] = x = stage(x)
        features: OrderedDict[str, Tensor] = self.fpn(coarse)
        features[FINE] = self.lateral(first) + nn.functional.interpolate(features["0"], scale_factor=2.0)
        return features


class Residual(nn.Module):
    """x + two 3x3 convolutions of x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv(channels, channels)
        self.second = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), _norm(channels))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(self.first(x)))


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(8, channels)


def _conv(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False), _norm(after), nn.ReLU(inplace=True)
    )


def _tiny() -> MaskRCNN:
    """Sizes for frames of about 160x120 with divers of 10 to 80 px; 1.15 M parameters."""
    anchors = AnchorGenerator(sizes=((14, 20), (28, 40), (56, 80)), aspect_ratios=((0.35, 0.75, 1.5, 3.5),) * 3)
    return MaskRCNN(
        TinyBackbone(),
        rpn_anchor_generator=anchors,
        rpn_head=RPNHead(TINY_FPN, anchors.num_anchors_per_location()[0]),
        rpn_pre_nms_top_n_train=200,
        rpn_pre_nms_top_n_test=100,
        rpn_post_nms_top_n_train=150,
        rpn_post_nms_top_n_test=TINY_MAX_PROPOSALS,
        rpn_batch_size_per_image=128,
        box_roi_pool=MultiScaleRoIAlign([FINE], output_size=7, sampling_ratio=2),
        # Heads learn from random weights slowly, or not at all, without normalization.
        box_head=FastRCNNConvFCHead((TINY_FPN, 7, 7), (TINY_FPN, TINY_FPN), (128,), norm_layer=_norm),
        box_predictor=FastRCNNPredictor(128, NUM_CLASSES),
        box_bg_iou_thresh=0.4,  # thin bodies: between 0.4 and 0.5 a pixel decides
        box_batch_size_per_image=48,
        box_positive_fraction=0.33,
        mask_roi_pool=MultiScaleRoIAlign([FINE], output_size=MASK_SIZE // 2, sampling_ratio=1),
        mask_head=MaskRCNNHeads(TINY_FPN, (TINY_FPN,) * 3, 1, norm_layer=_norm),
        mask_predictor=MaskRCNNPredictor(TINY_FPN, TINY_FPN, NUM_CLASSES),
        size_divisible=16,
    )


def _fix_scales(network: MaskRCNN) -> None:
    """Tell the RoI poolers the strides.

    They guess them from the first frame they see and keep the guess, which is wrong for small frames that are padded.
    """
    side = 256
    for pool in (network.roi_heads.box_roi_pool, network.roi_heads.mask_roi_pool):
        strides = [2 if name == FINE else 4 << int(name) for name in pool.featmap_names]
        maps = {
            name: torch.zeros(1, 1, side // stride, side // stride)
            for name, stride in zip(pool.featmap_names, strides, strict=True)
        }
        pool(maps, [torch.tensor([[0.0, 0.0, 32.0, 32.0]])], [(side, side)])
        assert pool.scales == [1 / stride for stride in strides]
