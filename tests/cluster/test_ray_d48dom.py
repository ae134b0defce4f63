"""The long commands of ``d48dom`` on a Ray cluster: the bytes of one process, whoever makes a clip."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
pytest.importorskip("av")

from click.testing import CliRunner  # noqa: E402

from diving48_domains import segment as segment_module  # noqa: E402
from diving48_domains.annotations import open_folder  # noqa: E402
from diving48_domains.build import build  # noqa: E402
from diving48_domains.build_options import BuildOptions  # noqa: E402
from diving48_domains.domains import DomainOptions  # noqa: E402
from diving48_domains.mini.config import MiniConfig  # noqa: E402
from diving48_domains.mini.dataset import write_mini  # noqa: E402
from diving48_domains.pack import pack  # noqa: E402
from diving48_domains.pack_options import PackOptions  # noqa: E402
from diving48_domains.segment import SegmentOptions, segment  # noqa: E402
from diving48_domains.segment_commands import segment as segment_command  # noqa: E402
from diving48_domains.segment_device import choose_device, has_gpus  # noqa: E402
from diving48_domains.segmenter.checkpoint import save_segmenter  # noqa: E402
from diving48_domains.segmenter.network import NetworkSpec, build_network  # noqa: E402
from tsgen.common.engine import EngineOptions  # noqa: E402
from tsgen.common.errors import UsageError  # noqa: E402

pytestmark = pytest.mark.cluster
torch.set_num_threads(1)
SERIAL = EngineOptions("serial")
MINI = MiniConfig(train=4, val=0, test=2, shift=0, swap=0, width=64, height=48, labels_train=0, labels_val=0)
BUILD = BuildOptions(
    domains=("O", "T"), size=(24, 32), num_frames=4, composition=DomainOptions(blur_sigma_px=3, blur_size_px=11)
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A mini-Diving48 of six videos, and a segmenter of random weights."""
    root = tmp_path_factory.mktemp("ray_d48")
    write_mini(root / "mini", MINI, workers=0, quiet=True)
    spec = NetworkSpec("tiny", "group")
    (root / "net").mkdir()
    save_segmenter(root / "net", spec, build_network(spec, seed=1).state_dict(), {})
    return root


def bytes_of(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("form", ["hdf5", "ffv1"])
def test_build(world, tmp_path, monkeypatch, ray_address, form):
    monkeypatch.chdir(world)  # relative paths mean the same to workers
    options = dataclasses.replace(BUILD, form=form)
    folder = open_folder(Path("mini"))
    for name, engine in (("one", SERIAL), ("ray", EngineOptions("ray", address=ray_address))):
        build(folder, "test", folder.root / "truth.h5", tmp_path / name, options, engine=engine, quiet=True)
    assert bytes_of(tmp_path / "ray") == bytes_of(tmp_path / "one")


def test_pack(world, tmp_path, ray_address):
    options = PackOptions(size=(24, 32), num_frames=4, val_share=0.3)
    folder = open_folder(world / "mini")
    for name, engine in (("one", SERIAL), ("ray", EngineOptions("ray", address=ray_address))):
        pack(folder, tmp_path / name, options, engine=engine, quiet=True)
    assert bytes_of(tmp_path / "ray") == bytes_of(tmp_path / "one")


def test_segment(world, tmp_path, monkeypatch, ray_address):
    """On tasks; the file's facts say nothing of the engine."""
    monkeypatch.chdir(world)
    common = ["--data", "mini", "--segmenter", "net", "--frames", "2", "--max-detections", "3", "--device", "cpu"]
    for name, more in (("one", ()), ("ray", ("--engine", "ray", "--address", ray_address))):
        arguments = [*common, "--out", str(tmp_path / f"{name}.h5"), "--json", *more]
        told = CliRunner().invoke(segment_command, arguments, catch_exceptions=False)
        assert json.loads(told.output)["clips"] == 2
    assert (tmp_path / "ray.h5").read_bytes() == (tmp_path / "one.h5").read_bytes()


def test_segment_in_actors_that_keep_the_network(world, tmp_path, monkeypatch, ray_address):
    """As on GPUs; the node that claims one takes them, on its CPU."""
    options = SegmentOptions(frames=2, device="cpu", max_detections=3)
    segment(world / "mini", world / "net", tmp_path / "one.h5", options)
    monkeypatch.setattr(segment_module, "choose_device", lambda *_: ("cpu", 1.0))
    engine = EngineOptions("ray", address=ray_address)
    segment(world / "mini", world / "net", tmp_path / "ray.h5", options, engine=engine)
    assert (tmp_path / "ray.h5").read_bytes() == (tmp_path / "one.h5").read_bytes()


def test_the_cluster_says_whether_there_are_gpus(ray_address):
    engine = EngineOptions("ray", address=ray_address)
    assert has_gpus(engine), "of a machine that is not this one"
    assert choose_device("auto", engine, None) == ("cuda", 1.0)
    assert choose_device("auto", engine, 0.5) == ("cuda", 0.5)
    assert choose_device("auto", engine, 0.0) == ("cpu", 0.0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the workers would find the GPU")
def test_a_worker_without_the_gpu_that_its_machine_claims_says_so(world, tmp_path, ray_address):
    options = SegmentOptions(frames=2, device="cuda")
    engine = EngineOptions("ray", address=ray_address)
    with pytest.raises(UsageError, match="--device cuda: PyTorch sees 0 GPUs"):
        segment(world / "mini", world / "net", tmp_path / "out.h5", options, engine=engine)
