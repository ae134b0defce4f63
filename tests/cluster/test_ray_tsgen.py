"""``tsgen make`` and ``tsgen release`` on a Ray cluster of two nodes: the files that one process writes."""

from __future__ import annotations

import json

import pytest
from clip_values import content_hash

import tsgen
from tsgen.common.shards import Shard
from tsgen.release.build import build_release
from tsgen.release.plan import Plan
from tsgen.slices import make_slice

pytestmark = pytest.mark.cluster
REQUEST = ("tsgen", "make", "--domain", "mnist-bg", "--n", 60, "--digits", "embedded", "--seed", 5, "--out", "ts.h5",
           "--engine", "ray", "--json")  # fmt: skip


@pytest.fixture(scope="module")
def expected(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("whole") / "ts.h5"
    tsgen.make("mnist-bg", 60, path, digits="embedded", seed=5, quiet=True)
    return content_hash(path)


def test_a_cluster_makes_the_clips_of_threads(run_cli, tmp_path, ray_address, expected):
    made = run_cli(*REQUEST, "--address", ray_address, "--shards", 4)
    assert made.returncode == 0, made.stderr
    told = json.loads(made.stdout)
    assert (told["engine"], told["slices_made"], told["slices_kept"]) == ("ray", 4, 0)
    assert told["content_hash"] == content_hash(tmp_path / "ts.h5") == expected
    assert [path.name for path in tmp_path.glob("*ts*")] == ["ts.h5"], "no slices, nothing half written"


def test_it_goes_on_with_what_array_tasks_finished(run_cli, tmp_path, ray_address, expected):
    for index in (0, 2):
        shard = Shard(index, 3)
        make_slice("mnist-bg", 60, tmp_path / "ts.h5", shard, digits="embedded", seed=5, quiet=True)
    made = run_cli(*REQUEST, "--address", ray_address, "--shards", 3)
    told = json.loads(made.stdout)
    assert (told["slices_made"], told["slices_kept"], told["content_hash"]) == (1, 2, expected)


def test_a_strange_slice_ends_the_command_as_without_a_cluster(run_cli, tmp_path, ray_address):
    make_slice("2dot", 60, tmp_path / "ts.h5", Shard(1, 3), quiet=True)
    made = run_cli(*REQUEST, "--address", ray_address, "--shards", 3)
    assert made.returncode == 2
    assert "is not slice 1/3 of this recipe" in made.stderr
    assert "Traceback" not in made.stderr


def test_a_release_of_a_cluster_is_that_of_one_process(run_cli, tmp_path, ray_address):
    plan = Plan(("2dot", "mnist-bg"), {"train": 22, "val": 10, "test": 8})
    build_release(tmp_path / "here", plan, digits="embedded", quiet=True)
    arguments = ("--sizes", "22,10,8", "--configs", "2dot,mnist-bg", "--digits", "embedded", "--quiet")
    made = run_cli("tsgen", "release", "--out", "there", *arguments, "--engine", "ray", "--address", ray_address)
    assert made.returncode == 0, made.stderr
    hashes = [
        {
            f"{config}/{split}": part["content_hash"]
            for config, record in json.loads((tmp_path / folder / "release.json").read_text())["configs"].items()
            for split, part in record["splits"].items()
        }
        for folder in ("here", "there")
    ]
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) == 6
    assert run_cli("tsgen", "release", "--verify", "there", "--quiet").returncode == 0
