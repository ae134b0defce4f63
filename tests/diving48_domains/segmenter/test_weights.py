"""Where training starts: COCO's heads are replaced, foreign files are read as tensors only."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models.detection import maskrcnn_resnet50_fpn

from diving48_domains.segmenter.network import NetworkSpec, build_network
from diving48_domains.segmenter.weights import read_weights, start_network
from tsgen.common.errors import DataError, UsageError


def test_a_network_for_coco_keeps_its_body_and_gets_new_predictors(tmp_path):
    """A stand-in for COCO's file: torchvision's own network of 91 classes with random weights."""
    torch.manual_seed(1)
    coco = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91).state_dict()
    save_file(coco, tmp_path / "coco.safetensors")
    network, spec = start_network("resnet50", str(tmp_path / "coco.safetensors"), seed=0)
    assert spec == NetworkSpec("resnet50", "frozen")
    state = network.state_dict()
    replaced = [name for name, tensor in state.items() if not (name in coco and torch.equal(tensor, coco[name]))]
    assert replaced and all(".box_predictor." in name or ".mask_predictor." in name for name in replaced)
    assert state["roi_heads.box_predictor.cls_score.weight"].shape == (2, 1024)
    # As in the published recipe: the stem and the first stage stay as they are, statistics too.
    trained = {name.split(".")[2] for name, p in network.backbone.named_parameters(prefix="b") if p.requires_grad}
    assert not trained & {"conv1", "layer1"} and {"layer2", "layer3", "layer4"} <= trained


def test_a_network_of_two_classes_keeps_its_predictors(tmp_path):
    given = build_network(NetworkSpec("tiny", "group"), seed=8).state_dict()
    torch.save(given, tmp_path / "weights.pth")
    network, _ = start_network("tiny", str(tmp_path / "weights.pth"), seed=0)
    assert all(torch.equal(tensor, given[name]) for name, tensor in network.state_dict().items())


class Bomb:
    def __reduce__(self):
        return os.system, ("touch pwned",)


def test_no_code_in_a_pickle_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bomb = tmp_path / "bomb.pth"
    torch.save({"a": Bomb()}, bomb)
    with pytest.raises(DataError, match="is no file of tensors"):
        read_weights(bomb)
    bomb.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError, match="is no file of tensors"):
        read_weights(bomb)
    assert not (tmp_path / "pwned").exists()


def test_files_that_are_no_weights(tmp_path):
    (tmp_path / "a.pt").write_bytes(b"nothing")
    torch.save({"a": 3}, tmp_path / "b.pt")
    save_file({"a": torch.zeros(1)}, tmp_path / "c.safetensors")
    tiny = build_network(NetworkSpec("tiny", "group")).state_dict()
    save_file({**tiny, "backbone.lateral.bias": torch.full((64,), torch.inf)}, tmp_path / "d.safetensors")
    for name, reason in (
        ("a.pt", "no file of tensors"),
        ("b.pt", "no state dict"),
        ("c.safetensors", "does not fit the network"),
        ("d.safetensors", "not finite"),
    ):
        with pytest.raises(DataError, match=reason):
            start_network("tiny", str(tmp_path / name), 0)
    with pytest.raises(UsageError, match="allowed: coco, none, or a file"):
        start_network("tiny", str(tmp_path / "absent.pt"), 0)
    with pytest.raises(UsageError, match="coco goes with --arch resnet50"):
        start_network("tiny", "coco", 0)


def test_coco_out_of_reach_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(UsageError, match=r"could not fetch.*--weights FILE.*--weights none"):
        start_network("resnet50", "coco", 0)
