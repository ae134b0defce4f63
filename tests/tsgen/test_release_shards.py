"""A release built by shards at once, or by an engine: the folder that one build makes."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import h5py
import pytest
from click.testing import CliRunner
from clip_values import release_values

from tsgen.common.engine import EngineOptions, UnitsFailed
from tsgen.common.errors import UsageError
from tsgen.common.files import locked
from tsgen.common.shards import Shard
from tsgen.common.sums import SUMS_FILE
from tsgen.recipe import Recipe
from tsgen.release.build import build_release, build_shard
from tsgen.release.folder import MARKER_FILE, check_out, partial_of_marker
from tsgen.release.parts import parts_of
from tsgen.release.plan import Plan, domain_of
from tsgen.release.verify import verify_release
from tsgen.release_commands import release

pytest.importorskip("pyarrow")
SMALL = Plan(("2dot", "mnist"), {"train": 22, "val": 10, "test": 8})


# A worker imports the script it was started from, so what the script changes is changed there too.
HANGING = """
import os, time, tsgen.release.parts
whole = tsgen.release.parts.write_clips
def write_clips(path, *arguments, **options):
    while path.match("2dot/test.h5") and "HANG" in os.environ:
        time.sleep(0.1)
    whole(path, *arguments, **options)
tsgen.release.parts.write_clips = write_clips
if __name__ == "__main__":
    from tsgen.cli import main
    main()
"""


def build(out: Path, plan: Plan = SMALL, **options):
    return build_release(out, plan, digits="embedded", quiet=True, **options)


def build_one(out: Path, shard: Shard, plan: Plan = SMALL, **options):
    return build_shard(out, shard, plan, digits="embedded", quiet=True, workers=1, **options)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("built") / "release"
    build(out)
    return out


def recipes(plan: Plan):
    return {part: Recipe(domain_of(part[0]), plan.sizes[part[1]], 0, part[1]) for part in plan.parts}


@pytest.mark.parametrize("count", [1, 2, 5, 8, 50])
def test_shards_share_all_files_and_the_work(count):
    every = recipes(Plan())
    shares = [parts_of(every, Shard(index, count)) for index in range(count)]
    assert Counter(part for share in shares for part in share) == Counter(every.keys())
    if count <= 8:
        costs = [sum(r.n * (5 if r.domain.has_noise else 1) for r in share.values()) for share in shares]
        assert max(costs) <= 1.25 * max(sum(costs) / count, 20_000)


def test_shards_then_a_build_give_the_folder_of_a_build(tmp_path, built):
    out = tmp_path / "out"
    done = [build_one(out, Shard(index, 3)) for index in (2, 0)]
    assert all(one.made and not one.kept for one in done)
    assert (out / MARKER_FILE).exists()
    assert not (out / SUMS_FILE).exists()
    again = build_one(out, Shard(2, 3))
    assert (again.made, again.kept) == (0, done[0].made)
    summary = build(out)  # makes what shard 1 would have made
    assert summary.kept == sum(one.made for one in done) < 6
    assert release_values(out) == release_values(built)
    told: list[str] = []
    assert build_one(out, Shard(1, 3), say=told.append).made == 0
    assert "holds the whole release already" in told[0]
    assert release_values(out) == release_values(built)


def test_shards_that_begin_together_and_work_at_the_same_time(tmp_path, built):
    """Twice, as the moment between the marker and the look for it is short."""
    for number in range(2):
        out = tmp_path / str(number)
        failed: list[Exception] = []

        def one(index: int, out: Path = out, failed: list[Exception] = failed) -> None:
            try:
                build_one(out, Shard(index, 6))
            except Exception as problem:
                failed.append(problem)

        threads = [threading.Thread(target=one, args=(index,)) for index in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert build(out).kept == 6
        assert release_values(out) == release_values(built)


def test_a_shard_makes_again_what_is_damaged(tmp_path, built):
    out = tmp_path / "out"
    build(out)
    with h5py.File(out / "data/2dot/val.h5", "r+") as file:
        file["labels"][3] = (file["labels"][3] + 1) % 5
    told: list[str] = []
    assert sum(build_one(out, Shard(index, 2), say=told.append).made for index in range(2)) == 1
    assert any("val.h5 was changed or damaged" in line and "It is made again." in line for line in told)
    assert not (out / SUMS_FILE).exists(), "until the build without a shard has looked at all"
    build(out)
    assert release_values(out) == release_values(built)


def test_shards_of_other_plans_are_refused(tmp_path):
    out = tmp_path / "out"
    build_one(out, Shard(0, 3))
    with pytest.raises(UsageError, match="holds another release"):
        build_one(out, Shard(1, 3), Plan(SMALL.configs, SMALL.sizes, seed=1))


def test_a_build_waits_for_no_shard_and_no_shard_for_a_build(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    shard = functools.partial(locked, out, shared=True)
    with shard(), shard(), pytest.raises(UsageError, match="another process works on"):
        build(out)
    with locked(out), pytest.raises(UsageError, match="another process works on"):
        build_one(out, Shard(0, 2))


def test_what_others_write_meanwhile_is_not_foreign(tmp_path):
    (tmp_path / "data" / "2dot").mkdir(parents=True)
    (tmp_path / "data" / "2dot" / ".val.h5.partial-0123-abcd-1").touch()
    (tmp_path / f"{partial_of_marker()}x").touch()
    check_out(tmp_path)
    (tmp_path / "data" / "2dot" / ".mine.h5.partial-0").touch()
    with pytest.raises(UsageError, match=r"no release has: data/2dot/.mine.h5.partial-0"):
        check_out(tmp_path)


# --- engines ---------------------------------------------------------------------------------------------------------


def test_processes_give_the_same(tmp_path, built):
    summary = build(tmp_path / "out", engine=EngineOptions("processes", workers=2))
    assert (summary.made, summary.kept) == (6, 0)
    assert release_values(tmp_path / "out") == release_values(built)
    assert verify_release(tmp_path / "out", quiet=True).is_proven


def test_a_file_that_cannot_be_made_leaves_the_others(tmp_path, built, monkeypatch):
    from tsgen.release import parts

    whole, out = parts.write_clips, tmp_path / "out"

    def poisoned(path: Path, *arguments, **options):
        if path.match("data/2dot/val.h5"):
            raise ZeroDivisionError("nobody foresaw this")
        whole(path, *arguments, **options)

    monkeypatch.setattr(parts, "write_clips", poisoned)
    with pytest.raises(UnitsFailed, match=r"1 of 6 units failed(?s:.*)2dot/val.h5: ZeroDivisionError: nobody foresaw"):
        build(out)
    assert not (out / SUMS_FILE).exists()
    monkeypatch.undo()
    summary = build(out)
    assert (summary.made, summary.kept) == (1, 5)
    assert release_values(out) == release_values(built)


def test_a_killed_build_by_processes_goes_on(tmp_path, built):
    out = tmp_path / "out"
    (tmp_path / "hanging.py").write_text(HANGING)
    command = [sys.executable, "hanging.py", "release", "--out", "out", "--digits", "embedded", "--sizes", "22,10,8"]
    command += ["--configs", "2dot,mnist", "--json", "--quiet", "--engine", "processes", "--workers", "2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    options = {"cwd": tmp_path, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, env={**environment, "HANG": "1"}, **options)
    while not list(out.glob("data/*/*.h5")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.kill()
    process.communicate()  # when its workers have ended too
    assert (out / MARKER_FILE).exists()
    kept = len(list(out.glob("data/*/*.h5")))
    again = subprocess.run(command, env=environment, check=True, **options)
    assert json.loads(again.stdout)["kept"] == kept < 6
    assert release_values(out) == release_values(built)


# --- the command -----------------------------------------------------------------------------------------------------


def invoke(*arguments: object):
    return CliRunner().invoke(release, [str(argument) for argument in arguments])


def test_the_command_does_a_share(tmp_path, built):
    request = ("--digits", "embedded", "--sizes", "22,10,8", "--configs", "2dot,mnist", "--quiet")
    made = invoke("--out", tmp_path / "out", *request, "--shard", "0/2")
    assert made.exit_code == 0, made.output
    assert f"shard 0/2 of {tmp_path / 'out'}: " in made.output
    assert "the command without --shard finishes the release" in made.output
    told = json.loads(invoke("--out", tmp_path / "out", *request, "--shard", "1/2", "--json").output)
    assert (told["shard"], told["kept"]) == ("1/2", 0)
    assert json.loads(invoke("--out", tmp_path / "out", *request, "--json").output)["kept"] == 6
    assert release_values(tmp_path / "out") == release_values(built)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--out", "x", "--shard", "2/2"), "shards are counted from 0"),
        (("--out", "x", "--shard", "0/2", "--engine", "ray"), "no engine, no --force"),
        (("--out", "x", "--shard", "0/2", "--force"), "no engine, no --force"),
        (("--out", "x", "--engine", "rya"), "Did you mean 'ray'"),
        (("--out", "x", "--address", "auto"), "add --engine ray"),
        (("--verify", "x", "--shard", "0/2"), "--shard goes with --out DIR only"),
        (("--verify", "x", "--engine", "ray"), "--engine goes with --out DIR only"),
    ],
)
def test_bad_options(tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    result = invoke(*options)
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)
    assert list(tmp_path.iterdir()) == []
