"""``d48dom build`` with no data: everything is made once, kept in the cache and reused."""

from __future__ import annotations

import json

import pytest
import torch

from diving48_domains.embedded import CACHE_VARIABLE, FULL, QUICK, Embedded, ensure_embedded
from diving48_domains.framestore import open_store
from diving48_domains.instance_file import InstanceFile
from diving48_domains.mini.config import MiniConfig
from tsgen.common.errors import UsageError

SMALL = MiniConfig(train=4, val=0, test=2, shift=0, swap=0, width=96, height=64, labels_train=8, labels_val=2)


def test_a_segmenter_is_trained_once_and_then_reused(tmp_path, monkeypatch):
    torch.set_num_threads(1)
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    said: list[str] = []
    what = Embedded(SMALL, epochs=1)
    folder, found = ensure_embedded(what, said.append, workers=1, quiet=True)
    assert [line.split(":")[0] for line in said] == [
        "no --data", "training a tiny segmenter on its 8 labelled frames, some minutes, once",
        "finding the divers of the test split",
    ]  # fmt: skip
    with InstanceFile(found) as instances:
        assert sorted(instances.clip_ids) == sorted(entry.clip_id for entry in folder.entries("test"))
        assert instances.facts["segmenter"] != "ground truth"
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    again = ensure_embedded(what, said.append, workers=1, quiet=True)
    assert again == (folder, found) and said[-1].startswith("reusing")
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert Embedded(SMALL, epochs=2).name == what.name  # the clips are shared, the segmenter is not


def test_the_recipes():
    assert FULL.config.labels_train == 290 and FULL.config.labelled_share == 1 and FULL.epochs is None
    assert QUICK.epochs == 0 and QUICK.config.test == 8


def test_a_cache_that_cannot_be(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file" / "below"))
    with pytest.raises(UsageError, match="set \\$D48DOM_CACHE to another folder"):
        ensure_embedded(QUICK, print)


def test_the_command_needs_nothing(tmp_path, run_cli):
    environment = {CACHE_VARIABLE: str(tmp_path / "cache")}
    first = run_cli("d48dom", "build", "--threshold", "0.4", "--quick", "--json", **environment)
    assert first.returncode == 0, first.stderr
    (summary,) = json.loads(first.stdout)
    assert summary["clips written"] == 8 and summary["frames detected"] > 200
    assert open_store(tmp_path / summary["outputs"]["S1"]).clip_shape == (32, 120, 160, 3)
    assert (tmp_path / "d48_domains" / "test" / "contact_sheet.png").stat().st_size > 10_000
    again = run_cli("d48dom", "build", "--threshold", "0.4", "--quick", **environment)
    assert again.returncode == 0 and "was there already" in again.stdout
    refused = run_cli("d48dom", "build", "--quick", "--data", tmp_path)
    assert refused.returncode == 2 and "--quick is about the data of d48dom's own" in refused.stderr
