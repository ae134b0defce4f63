"""Weights and facts on disk: safetensors and JSON, never a pickle.

A segmenter is a folder: ``model.safetensors`` (the weights) and ``segmenter.json`` (what built them), the latter
written last and naming the former's SHA-256, so a folder with it is whole.
"""

from __future__ import annotations

import contextlib
import json
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torchvision.models.detection import MaskRCNN

from diving48_domains.segmenter.network import NetworkSpec, build_network
from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import atomic_path, sha256_file, write_json_atomic

WEIGHTS_NAME = "model.safetensors"
CARD_NAME = "segmenter.json"
FORMAT = "d48dom segmenter"
VERSION = 1
METADATA_KEY = "d48dom"  # a single key: with several, the order of bytes would vary
MAX_CARD_BYTES = 10_000_000


def save_tensors(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write atomically; equal tensors and facts give equal bytes."""
    on_cpu = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    with atomic_path(path) as partial:
        partial.touch()
        mode = stat.S_IMODE(partial.stat().st_mode)  # of a normal new file here; safetensors writes one with 0600
        try:
            save_file(on_cpu, partial, metadata={METADATA_KEY: json.dumps(dict(facts), sort_keys=True)})
        except SafetensorError as problem:  # how it reports a full disk, with the number in its text
            number = re.search(r"os error (\d+)", str(problem))
            known = [int(number[1])] if number else []
            raise OSError(*known, f"writing {path} failed: {problem}") from problem
        partial.chmod(mode)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts (empty for files of others); DataError when the file is no whole safetensors file."""
    with _opened(path) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        return tensors, _facts(path, file)


def read_facts(path: Path) -> dict[str, Any]:
    """The facts alone, without reading the tensors."""
    with _opened(path) as file:
        return _facts(path, file)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, ValueError, OSError, RecursionError) as problem:
        raise DataError(f"{path} is no whole safetensors file: {problem}") from problem


def _facts(path: Path, file: Any) -> dict[str, Any]:
    facts = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
    if not isinstance(facts, dict):
        raise DataError(f"{path}: its metadata is no JSON object; it was not written by d48dom.")
    return facts


def save_segmenter(
    folder: Path, spec: NetworkSpec, weights: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Write a segmenter's two files and give back the content of ``segmenter.json``.

    ``facts``: whatever JSON describes the training.
    """
    save_tensors(folder / WEIGHTS_NAME, weights, {"network": asdict(spec)})
    card = {
        "format": FORMAT,
        "version": VERSION,
        "network": asdict(spec),
        "sha256": sha256_file(folder / WEIGHTS_NAME),
        **facts,
    }
    write_json_atomic(folder / CARD_NAME, card)
    return card


def read_card(folder: Path) -> tuple[NetworkSpec, dict[str, Any]]:
    """The network and all facts of a segmenter's ``segmenter.json``."""
    path = folder / CARD_NAME
    if not path.is_file():
        raise UsageError(
            f"{folder} is no segmenter: it has no {CARD_NAME}. Train one with d48dom train --labels DIR --out {folder}."
        )
    if path.stat().st_size > MAX_CARD_BYTES:
        raise DataError(f"{path} is larger than {MAX_CARD_BYTES} bytes; it was not written by d48dom.")
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as problem:
        raise DataError(f"{path} is no JSON: {problem}") from problem
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise DataError(f"{path} is not the file of a segmenter of d48dom (format {FORMAT!r}).")
    if card.get("version") != VERSION:
        raise DataError(
            f"{path} has version {card.get('version')!r}; this release reads {VERSION}. Train the segmenter again."
        )
    network = card.get("network")
    if not isinstance(network, dict) or not all(isinstance(network.get(key), str) for key in ("arch", "norm")):
        raise DataError(f'{path}: "network" must name arch and norm, got {network!r}.')
    try:
        return NetworkSpec(network["arch"], network["norm"]), card
    except UsageError as problem:
        raise DataError(f"{path}: {problem}") from problem


def load_network(folder: Path) -> tuple[MaskRCNN, NetworkSpec, dict[str, Any]]:
    """A trained network in evaluation mode, its spec, and the facts of ``segmenter.json``.

    DataError when the weights are not those that ``segmenter.json`` names, or do not fit the network.
    """
    spec, card = read_card(folder)
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise DataError(f"{folder} has {CARD_NAME} but no {WEIGHTS_NAME}; copy it again or train again.")
    found = sha256_file(path)
    if found != card.get("sha256"):
        raise DataError(
            f"{path} is not the file that {CARD_NAME} names (sha256 {found[:12]}..., not {str(card.get('sha256'))[:12]}"
            "...); copy the folder again."
        )
    tensors, _ = load_tensors(path)
    network = build_network(spec)
    put_weights(network, tensors, str(path))
    return network.eval(), spec, card


def put_weights(network: MaskRCNN, tensors: Mapping[str, Tensor], origin: str) -> None:
    """Load all weights of a network; DataError unless names, shapes, types and finite values are exactly right."""
    expected = network.state_dict()
    missing, unknown = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    if missing or unknown:
        raise DataError(
            f"{origin} does not fit the network: {len(missing)} tensors missing ({', '.join(missing[:3])}), "
            f"{len(unknown)} unknown ({', '.join(unknown[:3])})."
        )
    for name, tensor in tensors.items():
        want = expected[name]
        if tensor.shape != want.shape or tensor.dtype != want.dtype:
            raise DataError(
                f"{origin}: {name} is {tensor.dtype} {tuple(tensor.shape)}, not {want.dtype} {tuple(want.shape)}."
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise DataError(f"{origin}: {name} holds values that are not finite.")
    network.load_state_dict(dict(tensors))
