"""Where a network's weights start: COCO through torchvision, a local file, or random."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor
from torchvision.models.detection import MaskRCNN, MaskRCNN_ResNet50_FPN_Weights

from diving48_domains.segmenter.checkpoint import load_tensors
from diving48_domains.segmenter.network import NetworkSpec, build_network
from tsgen.common.errors import DataError, UsageError

COCO, NONE = "coco", "none"
PICKLE_SUFFIXES = (".pt", ".pth")

# What is made anew for two classes when the weights have more (Section 4.2 of the paper, as published).
PREDICTORS = ("roi_heads.box_predictor.", "roi_heads.mask_predictor.")


def default_weights(arch: str) -> str:
    """COCO for resnet50, as in the paper; random for tiny, for which there are no others."""
    return NONE if arch == "tiny" else COCO


def start_network(arch: str, weights: str, seed: int) -> tuple[MaskRCNN, NetworkSpec]:
    """A network to train, from "coco", "none" (random from ``seed``) or the path of a .safetensors, .pt or .pth file.

    Predictors for another number of classes are replaced by random ones. UsageError when COCO's weights cannot be
    fetched, DataError when a file does not fit or holds more than tensors.
    """
    if weights == NONE:
        spec = NetworkSpec(arch, "group" if arch == "tiny" else "batch")
        return build_network(spec, seed), spec
    if weights == COCO:
        if arch != "resnet50":
            raise UsageError(f"--weights coco goes with --arch resnet50; {arch} starts from none or from a file.")
        state, origin = _fetch_coco(), "COCO weights"
    else:
        state, origin = read_weights(Path(weights)), weights
    spec = NetworkSpec(arch, "group" if arch == "tiny" else "frozen")
    network = build_network(spec, seed)
    start_from(network, state, origin)
    return network, spec


def start_from(network: MaskRCNN, state: Mapping[str, Tensor], origin: str) -> None:
    """Load weights, leaving the random predictors where the given ones are for other classes or absent."""
    own = network.state_dict()
    fitting = {
        name: tensor
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")  # of BatchNorm; a frozen one counts nothing
        and not (name.startswith(PREDICTORS) and (name not in own or tensor.shape != own[name].shape))
    }
    # All of a predictor or nothing: half a predictor is noise.
    for prefix in PREDICTORS:
        wanted = {name for name in own if name.startswith(prefix)}
        if not wanted <= fitting.keys():
            fitting = {name: tensor for name, tensor in fitting.items() if name not in wanted}
    bad = [name for name, tensor in fitting.items() if not torch.isfinite(tensor).all()]
    if bad:
        raise DataError(f"{origin}: {bad[0]} holds values that are not finite.")
    try:
        # Not strict: torchvision renames the keys of older files while it loads them.
        missing, unknown = network.load_state_dict(fitting, strict=False)
    except RuntimeError as problem:
        raise DataError(f"{origin} does not fit the network: {problem}") from problem
    missing = [name for name in missing if not name.startswith(PREDICTORS) and not name.endswith("num_batches_tracked")]
    if missing or unknown:
        raise DataError(
            f"{origin} does not fit the network: {len(missing)} tensors missing ({', '.join(missing[:3])}), "
            f"{len(unknown)} unknown ({', '.join(unknown[:3])})."
        )


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors file or of a .pt/.pth file, which is read as tensors only: no code in it runs."""
    if not path.is_file():
        raise UsageError(f"--weights {path} does not exist; allowed: coco, none, or a file (.safetensors, .pt, .pth).")
    if path.suffix not in PICKLE_SUFFIXES:
        return load_tensors(path)[0]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the pickle's version: it is read as tensors or refused
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError, KeyError) as problem:
        first = str(problem).partition("\n")[0]
        raise DataError(
            f"{path} is no file of tensors ({first}). Save network.state_dict() alone, best as .safetensors."
        ) from problem
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise DataError(f"{path} holds no state dict (names to tensors). Save network.state_dict() alone.")
    return state


def _fetch_coco() -> dict[str, Tensor]:
    source = MaskRCNN_ResNet50_FPN_Weights.COCO_V1
    try:
        state: dict[str, Tensor] = source.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (URLError, OSError, RuntimeError) as problem:
        raise UsageError(
            f"torchvision could not fetch its COCO weights ({problem}). Download {source.url} where there is a "
            "connection and give the file with --weights FILE, or start from random weights with --weights none."
        ) from problem
    return state
