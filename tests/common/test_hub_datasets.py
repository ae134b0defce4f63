"""``datasets.load_dataset`` and Xet over HTTP, each in a process of its own: the client reads HF_ENDPOINT once."""

import os
import subprocess
import sys

import pytest

from tsgen.common.hub.publish import publish_folder

REPO = "user/shapes"
CONFIG = "2dot"

READ = """
import sys, warnings
import datasets
for streaming in (False, True):
    splits = datasets.load_dataset(sys.argv[1], sys.argv[2], streaming=streaming, revision=sys.argv[3])
    assert sorted(splits) == ["test", "train", "val"], splits
    row = next(iter(splits["train"]))
    names = splits["train"].features["labels"].names
    print(names[row["labels"]], row["clip_id"], sum(map(sum, row["clips"][0])))
"""
SNAPSHOT = """
import sys
from huggingface_hub import snapshot_download
print(snapshot_download(sys.argv[1], repo_type="dataset", revision=sys.argv[2]))
"""
PUBLISH = """
import sys
from pathlib import Path
from tsgen.common.hub.publish import publish_folder
plan = publish_folder(Path(sys.argv[2]), sys.argv[1], token=sys.argv[3], say=lambda line: None)
print(plan.tag)
"""


@pytest.fixture
def outside(hub, tmp_path):
    """``outside(code, *words)``: stdout of a fresh Python whose Hub is the loopback one."""

    def run(code, *words, **environment):
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            **environment,
        }
        done = subprocess.run(
            [sys.executable, "-c", code, *words], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def published(hub, hub_server, tmp_path):
    """A small real release, published; the folder."""
    pytest.importorskip("pyarrow")
    from tsgen.release.build import build_release
    from tsgen.release.plan import Plan

    folder = tmp_path / "release"
    plan = Plan((CONFIG,), {"train": 10, "val": 5, "test": 5})
    build_release(folder, plan, digits="embedded", workers=1, say=lambda line: None, quiet=True)
    options = {"token": hub_server.TOKEN, "endpoint": hub.url, "allow_departures": True}
    publish_folder(folder, REPO, **options, say=lambda line: None)
    return folder


def test_a_published_release_loads_in_one_line_streaming_too(outside, published):
    import tsgen

    pytest.importorskip("datasets")
    with tsgen.open_clips(published / "data" / CONFIG / "train.h5") as file:
        row = (file.class_names[file.labels[0]], str(file.clip_id[0]), str(file.clips()[0][0].sum()))
    assert outside(READ, REPO, CONFIG, "v1.0.0").split() == [*row, *row]


def test_the_clients_own_snapshot_has_the_same_files(outside, published):
    from pathlib import Path

    from tsgen.common.sums import check_sums

    folder = Path(outside(SNAPSHOT, REPO, "v1.0.0").strip())
    assert not check_sums(folder)


def test_with_xet_large_files_go_to_its_store_and_are_read_back_all_the_same(
    hub, hub_server, outside, make_release, tmp_path
):
    """hf_xet serves a folder itself when the Hub names it as its store; that is not documented, hence the skip."""
    pytest.importorskip("hf_xet")
    hub.xet_folder = str(tmp_path / "xet")
    folder = make_release(tmp_path / "release")
    try:
        tag = outside(PUBLISH, REPO, str(folder), hub_server.TOKEN, HF_HUB_DISABLE_XET="0")
    except AssertionError as problem:
        if "local" in str(problem):
            pytest.skip("this hf_xet serves no folder")
        raise
    assert tag.strip() == "v1.0.0" and not hub.received, "nothing went through LFS"
    stored = sum(path.stat().st_size for path in (tmp_path / "xet").rglob("*") if path.is_file())
    assert stored > 0 and hub.count("GET", "/xet-write-token/") == 1
    tree = hub.repos[REPO].commits[hub.repos[REPO].tags["v1.0.0"]]
    assert tree["data/a/train.h5"].sha256
