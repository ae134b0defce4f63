"""What the commands say about videos: keys of stores of frames, presets, and T/S1 where there is none."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from benchmark.cli import cli
from benchmark.scoring import Entry, score
from benchmark.submission.key_file import key_from, read_key
from benchmark.sweep.grid import Grid
from benchmark.table import render
from tests.benchmark.test_answer_key import write_store
from tests.benchmark.test_scoring import answers
from tsgen.common.errors import DataError, UsageError

NAMES, LABELS = ("v0_00000", "v1_00001", "v2_00002"), (0, 1, 2)


def refused(*arguments):
    done = CliRunner().invoke(cli, [str(each) for each in arguments])
    assert isinstance(done.exception, UsageError), done.output
    return str(done.exception)


def test_the_key_of_packed_validation_clips_is_v_s(tmp_path):
    write_store(tmp_path / "val.h5", NAMES, LABELS, None, domain="val", kind="pack", split="val")
    out = tmp_path / "keys" / "deep" / "V.json"
    done = CliRunner().invoke(cli, ["key", str(tmp_path / "val.h5"), "--out", str(out)])
    assert done.exit_code == 0, done.exception
    key = read_key(out)
    assert (key.domain, key.split, len(key)) == ("V", "val", 3)
    assert "exists" in refused("key", tmp_path / "val.h5", "--out", out)
    assert "cannot be made" in refused("key", tmp_path / "val.h5", "--out", out / "more" / "V.json")
    assert key_from(tmp_path / "val.h5", "mine", None).domain == "mine"


def test_other_packed_clips_must_be_named(tmp_path):
    write_store(tmp_path / "test.h5", NAMES, LABELS, None, domain="test", kind="pack", split="test")
    said = refused("key", tmp_path / "test.h5", "--out", tmp_path / "keys" / "O.json")
    assert "does not say its domain; give --domain" in said
    assert not (tmp_path / "keys").exists(), "a folder is made for a key alone"
    assert key_from(tmp_path / "test.h5", "O", None).split == "test"
    write_store(tmp_path / "val.h5", NAMES, LABELS, None, domain="val", kind="pack", split="val")
    assert "give --domain" in refused("key", tmp_path / "val.h5", "--split", "test")


def test_a_store_s_own_classes(tmp_path):
    facts = {"domain": "S1", "split": "test"}
    write_store(tmp_path / "S1.h5", NAMES, LABELS, None, class_names=["a", "b", "c"], **facts)
    assert key_from(tmp_path / "S1.h5", None, None).class_names == ("a", "b", "c")
    write_store(tmp_path / "two.h5", NAMES, LABELS, None, class_names=["a", "b"], **facts)
    with pytest.raises(DataError, match=r"has label 2; its classes are 0\.\.1"):
        key_from(tmp_path / "two.h5", None, None)


def test_a_folder_is_no_file_of_a_key(tmp_path):
    assert "is a folder; give one file of it" in refused("key", tmp_path)


def test_no_sweep_trains_on_videos(tmp_path):
    with pytest.raises(UsageError, match=r"is for videos.* rac-bench run --experiment"):
        Grid.parse("d48", None, None, None, None)  # what the command asks first
    assert "d48" not in CliRunner().invoke(cli, ["sweep", "--help"]).output
    assert "d48" not in refused("sweep", "--out", tmp_path / "sweep", "--preset", "other")


def test_where_shape_has_no_hit():
    hits = {"V": 300, "S1": 0, "T": 100}
    found = {(0, name): answers(name, "val" if name == "V" else "test", each) for name, each in hits.items()}
    text = render(score(Entry("a diver", "V", ("S1", "T"), (0,)), found))
    assert "T/S1 does not exist, because S1 has no hit: open" in text
    assert "T/S1 =" not in text
