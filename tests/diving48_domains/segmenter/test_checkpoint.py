"""A segmenter's folder: it comes back the same, and what is hostile or damaged is refused with a reason."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from diving48_domains.segmenter.checkpoint import load_network, save_segmenter
from diving48_domains.segmenter.network import NetworkSpec, build_network
from diving48_domains.segmenter.predict import load_segmenter
from tsgen.common.errors import DataError, UsageError

SPEC = NetworkSpec("tiny", "group")


@pytest.fixture
def folder(tmp_path):
    save_segmenter(tmp_path, SPEC, build_network(SPEC, 4).state_dict(), {"best_epoch": 3})
    return tmp_path


def rewrite_weights(folder, tensors):
    """Other weights, with a card that names them."""
    save_file(tensors, folder / "model.safetensors")
    edit_card(folder, sha256=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest())


def edit_card(folder, **changes):
    card = json.loads((folder / "segmenter.json").read_text())
    (folder / "segmenter.json").write_text(json.dumps({**card, **changes}))


def test_it_comes_back_the_same(folder):
    network, spec, card = load_network(folder)
    assert (spec, card["best_epoch"]) == (SPEC, 3)
    assert not network.training
    again = build_network(SPEC, 4).state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in network.state_dict().items())
    segmenter = load_segmenter(folder, device="cpu")
    assert segmenter.name == f"tiny-{card['sha256'][:12]}"


def test_equal_weights_give_equal_bytes(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    save_segmenter(other, SPEC, build_network(SPEC, 4).state_dict(), {"best_epoch": 3})
    for name in ("model.safetensors", "segmenter.json"):
        assert (other / name).read_bytes() == (folder / name).read_bytes()


def test_both_files_are_as_readable_as_any_new_file(folder):
    (folder / "new").touch()
    modes = {(folder / name).stat().st_mode for name in ("new", "model.safetensors", "segmenter.json")}
    assert len(modes) == 1


def test_weights_that_do_not_fit(folder):
    good = load_file(folder / "model.safetensors")
    name = "backbone.lateral.weight"
    cases = [
        ({key: value for key, value in good.items() if key != name}, "1 tensors missing"),
        ({**good, "extra": torch.zeros(1)}, "1 unknown"),
        ({**good, name: torch.zeros(3, 3)}, r"lateral.weight is torch.float32 \(3, 3\), not"),
        ({**good, name: good[name].to(torch.float16)}, "is torch.float16"),
        ({**good, name: torch.full_like(good[name], float("nan"))}, "not finite"),
    ]
    for tensors, reason in cases:
        rewrite_weights(folder, tensors)
        with pytest.raises(DataError, match=reason):
            load_network(folder)


def hostile_headers():
    """safetensors files that lie about their own layout."""

    def file(header, data=b"", size=None):
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack("<Q", len(text) if size is None else size) + text + data

    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    return {
        "empty": b"",
        "header larger than the file": file({"a": entry}, b"\0" * 4, size=1 << 60),
        "no JSON": file(b"{" * 64),
        "offsets beyond the end": file({"a": {**entry, "shape": [1 << 20], "data_offsets": [0, 4 << 20]}}, b"\0" * 4),
        "shape larger than its bytes": file({"a": {**entry, "shape": [1 << 40]}}, b"\0" * 4),
        "a pickle": pickle.dumps({"a": 1}),
    }


@pytest.mark.parametrize("kind", hostile_headers())
def test_hostile_weights_are_refused(folder, kind):
    data = hostile_headers()[kind]
    (folder / "model.safetensors").write_bytes(data)
    edit_card(folder, sha256=hashlib.sha256(data).hexdigest())
    with pytest.raises(DataError, match="no whole safetensors file"):
        load_network(folder)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "is not the file of a segmenter"),
        ('{"format": "other"}', "is not the file of a segmenter"),
        ('{"format": "d48dom segmenter", "version": 99}', "version 99; this release reads 1"),
        ('{"format": "d48dom segmenter", "version": 1, "network": 3}', "must name arch and norm"),
        (
            '{"format": "d48dom segmenter", "version": 1, "network": {"arch": "os.system", "norm": "group"}}',
            "unknown architecture",
        ),
    ],
)
def test_hostile_cards_are_refused(folder, text, reason):
    (folder / "segmenter.json").write_text(text)
    with pytest.raises(DataError, match=reason):
        load_network(folder)


def test_a_changed_file_and_a_missing_one(folder):
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="is not the file that segmenter"):
        load_network(folder)
    path.unlink()
    with pytest.raises(DataError, match="but no model"):
        load_network(folder)
    with pytest.raises(UsageError, match="is no segmenter: it has no"):
        load_network(folder / "elsewhere")


def test_devices_are_named():
    for name in ("cuda:77", "gpu", "cpu:1"):
        with pytest.raises(UsageError, match="device"):
            load_segmenter(Path(), device=name)
