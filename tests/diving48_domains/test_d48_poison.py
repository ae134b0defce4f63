"""A clip that ends its process: all others are finished, exit code 4, and the same command does that one alone."""

from __future__ import annotations

import dataclasses
import os
import re

import pytest
from click.testing import CliRunner
from d48_scenes import CLIPS, HEIGHT, WIDTH, write_folder

from diving48_domains import audit as audit_module
from diving48_domains import build as build_module
from diving48_domains import pack as pack_module
from diving48_domains import segment as segment_module
from diving48_domains.annotations import open_folder
from diving48_domains.audit import audit_folder
from diving48_domains.build import build
from diving48_domains.build_commands import build as build_command
from diving48_domains.build_options import BuildOptions
from diving48_domains.domains import DomainOptions
from diving48_domains.merge import merge
from diving48_domains.pack import pack
from diving48_domains.pack_options import PackOptions
from tsgen.common.engine import EngineOptions, UnitsFailed
from tsgen.common.errors import UsageError
from tsgen.common.shards import Shard

SERIAL, TWO = EngineOptions("serial"), EngineOptions(workers=2)
OPTIONS = BuildOptions(size=None, composition=DomainOptions(blur_sigma_px=3, blur_size_px=11), domains=("O", "T"))
PACK = PackOptions(size=(HEIGHT, WIDTH), val_share=0.4)
IDS = tuple(CLIPS)
POISON = "D48DOM_TEST_POISON"
build_one, pack_one = build_module._make, pack_module._make
look_at_one, segment_one = audit_module._examine, segment_module._make


def die_of(clip_id):
    """As a segmentation fault does; unforeseen errors too."""
    if os.environ.get(POISON) == clip_id:
        os._exit(11)
    if os.environ.get(POISON) == f"raise {clip_id}":
        raise ZeroDivisionError(clip_id)


def build_or_die(job, places):
    die_of(job.clip_id)
    return build_one(job, places)


def pack_or_die(job, places):
    die_of(job.clip_id)
    return pack_one(job, places)


def look_at_or_die(clip):
    die_of(clip[0])
    return look_at_one(clip)


def segment_or_die(clip_id):
    die_of(clip_id)
    return segment_one(clip_id)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("d48") / "data")


@pytest.fixture
def poison(monkeypatch):
    """Workers import these functions from here, by name."""
    monkeypatch.setattr(build_module, "_make", build_or_die)
    monkeypatch.setattr(pack_module, "_make", pack_or_die)
    monkeypatch.setattr(audit_module, "_examine", look_at_or_die)
    monkeypatch.setattr(segment_module, "_make", segment_or_die)

    def poison(what):
        monkeypatch.setenv(POISON, what)

    return poison


def bytes_of(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def only(monkeypatch, module, *allowed):
    """From here on, in this process, these clips alone may be made."""
    real = module._make

    def make(job, places):
        assert job.clip_id in allowed
        return real(job, places)

    monkeypatch.setattr(module, "_make", make)


@pytest.mark.parametrize("form", ["hdf5", pytest.param("ffv1", marks=pytest.mark.slow)])
def test_build(folder, tmp_path, monkeypatch, poison, form):
    options = dataclasses.replace(OPTIONS, form=form)
    found = folder.root / "found.h5"
    build(folder, "test", found, tmp_path / "whole", options, engine=SERIAL, quiet=True)
    poison(IDS[1])
    with pytest.raises(UnitsFailed, match=rf"1 of 5 units failed; .*\n{IDS[1]}: its process was ended") as caught:
        build(folder, "test", found, tmp_path / "out", options, engine=TWO, quiet=True)
    assert caught.value.exit_code == 4 and not (tmp_path / "out" / "test" / "manifest.jsonl").exists()
    with pytest.raises(UsageError, match=r"other settings|divided otherwise"):
        build(folder, "test", found, tmp_path / "out", options, engine=SERIAL, limit=2, quiet=True)
    poison("")
    only(monkeypatch, build_module, IDS[1])
    build(folder, "test", found, tmp_path / "out", options, engine=SERIAL, quiet=True)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")


def test_an_unforeseen_error_in_a_shard(folder, tmp_path, poison):
    found = folder.root / "found.h5"
    build(folder, "test", found, tmp_path / "whole", OPTIONS, engine=SERIAL, quiet=True)
    poison(f"raise {IDS[4]}")
    build(folder, "test", found, tmp_path / "out", OPTIONS, engine=SERIAL, shard=Shard(0, 2), quiet=True)
    with pytest.raises(UnitsFailed, match=rf"1 of 3 units failed; (.|\n)*ZeroDivisionError: {IDS[4]}"):
        build(folder, "test", found, tmp_path / "out", OPTIONS, engine=SERIAL, shard=Shard(1, 2), quiet=True)
    poison("")
    build(folder, "test", found, tmp_path / "out", OPTIONS, engine=SERIAL, shard=Shard(1, 2), quiet=True)
    merge(tmp_path / "out", remove=True, quiet=True)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")


def test_pack_goes_on_with_the_other_lists(folder, tmp_path, monkeypatch, poison):
    (folder.root / "Diving48_V2_train.json").write_bytes((folder.root / "Diving48_V2_test.json").read_bytes())
    training = open_folder(folder.root)
    pack(training, tmp_path / "whole", PACK, engine=SERIAL, quiet=True)
    held = {line.split('"')[3] for line in (tmp_path / "whole" / "val.jsonl").read_text().splitlines()[1:]}
    first = next(clip_id for clip_id in IDS if clip_id not in held)
    poison(f"raise {first}")
    with pytest.raises(UnitsFailed, match=f"1 of 3 units failed; (.|\n)*{first}"):
        pack(training, tmp_path / "out", PACK, engine=SERIAL, quiet=True)
    assert (tmp_path / "out" / "val.jsonl").exists() and not (tmp_path / "out" / "train.jsonl").exists()
    poison("")
    only(monkeypatch, pack_module, first)
    pack(training, tmp_path / "out", PACK, engine=SERIAL, quiet=True)
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "whole")


def test_the_command_tells_which_and_goes_on_with_the_other_lists(folder, tmp_path, poison):
    (folder.root / "Diving48_V2_train.json").write_bytes((folder.root / "Diving48_V2_test.json").read_bytes())
    poison(f"raise {IDS[2]}")
    given = ["--data", str(folder.root), "--instances", str(folder.root / "found.h5"), "--split", "test,train"]
    given += ["--out", str(tmp_path), "--size", "native", "--domains", "T", "--engine", "serial", "--quiet"]
    done = CliRunner().invoke(build_command, given)
    assert isinstance(done.exception, UnitsFailed)
    assert re.search(r"^test: 1 of 5 units failed(.|\n)*^train: 1 of 5 units failed", str(done.exception), re.M)
    poison("")
    again = CliRunner().invoke(build_command, given, catch_exceptions=False)
    assert "test: written" in again.output and "train: written" in again.output


@pytest.mark.slow  # processes that begin twice
def test_an_audit_names_the_video_that_ends_its_process(folder, poison):
    poison(IDS[3])
    with pytest.raises(UnitsFailed, match=rf"1 of 5 units failed; .*\n{IDS[3]}: its process was ended"):
        audit_folder(folder, workers=2)


@pytest.mark.parametrize(
    ("how", "engine"), [("raise ", SERIAL), pytest.param("", TWO, marks=pytest.mark.slow)], ids=["raises", "dies"]
)
def test_segment(folder, tmp_path, poison, how, engine):
    pytest.importorskip("torchvision")
    from diving48_domains.segmenter.checkpoint import save_segmenter
    from diving48_domains.segmenter.network import NetworkSpec, build_network

    spec = NetworkSpec("tiny", "group")
    (tmp_path / "net").mkdir()
    save_segmenter(tmp_path / "net", spec, build_network(spec, seed=1).state_dict(), {})
    options = segment_module.SegmentOptions(frames=2, device="cpu", max_detections=3)
    out = tmp_path / "out.h5"
    poison(f"{how}{IDS[1]}")
    with pytest.raises(UnitsFailed, match=rf"1 of 5 units failed; (.|\n)*{IDS[1]}"):
        segment_module.segment(folder.root, tmp_path / "net", out, options, engine=engine)
    assert not out.exists() and len(list((tmp_path / "out.h5.parts").glob("*.part"))) == 4
    poison("")
    again = segment_module.segment(folder.root, tmp_path / "net", out, options)
    assert (again["clips"], again["resumed"]) == (5, 4)
    segment_module.segment(folder.root, tmp_path / "net", tmp_path / "whole.h5", options)
    assert out.read_bytes() == (tmp_path / "whole.h5").read_bytes()


def test_engines_that_cannot_be(folder, tmp_path):
    given = ["--data", str(folder.root), "--instances", str(folder.root / "found.h5"), "--out", str(tmp_path)]
    for wrong, message in (
        (["--engine", "rya"], "did you mean 'ray'|unknown engine 'rya'"),
        (["--address", "here:1"], "add --engine ray"),
        (["--workers", "-1"], "--workers -1 is not possible"),
        (["--shard", "8"], "--shard '8' is no shard"),
    ):
        with pytest.raises(UsageError, match=message):
            CliRunner().invoke(build_command, [*given, *wrong], catch_exceptions=False)
    assert not list(tmp_path.iterdir())
