"""``tsgen make`` in slices by an engine: the bytes of a make without one, whatever was stopped or failed before."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from clip_values import files_of, values_of

import tsgen
from tsgen import slices
from tsgen.commands import info, make
from tsgen.common.engine import EngineOptions
from tsgen.common.errors import DataError, UsageError
from tsgen.common.shards import Shard
from tsgen.merge_commands import merge
from tsgen.slices import SLICE_CLIPS, check_sees, make_in_slices, make_slice

N = 1500
SERIAL = EngineOptions("serial")
# A worker imports the script it was started from, so what the script changes is changed there too.
POISONED = """
import os, time, tsgen.generate, tsgen.slices
whole = tsgen.slices.write_clips
def write_clips(path, recipe, *arguments, **options):
    if recipe.first == 600 and os.path.exists("poison"):
        os._exit(9)
    while recipe.first == 600 and "HANG" in os.environ:
        time.sleep(0.1)
    whole(path, recipe, *arguments, **options)
tsgen.slices.write_clips = write_clips
if "HANG_WRITING" in os.environ:
    tsgen.generate._write = lambda partial, *ignored: (partial.touch(), time.sleep(600))
if __name__ == "__main__":
    from tsgen.cli import main
    main()
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "ts.h5"
    tsgen.make("5dot", N, path, quiet=True)
    return path


def in_slices(folder: Path, shards: int | None = 5, engine: EngineOptions = SERIAL, **options):
    return make_in_slices("5dot", N, folder / "ts.h5", engine, shards=shards, quiet=True, **options)


@pytest.mark.parametrize("shards", [None, 1, 2, 7])
def test_the_bytes_are_those_of_make(tmp_path, whole, shards):
    done = in_slices(tmp_path, shards)
    assert (done.made, done.kept) == (shards or 1, 0)
    assert files_of(tmp_path) == {"ts.h5": values_of(whole)}


def test_processes_give_the_same(tmp_path, whole):
    in_slices(tmp_path, engine=EngineOptions("processes", workers=2))
    assert files_of(tmp_path) == files_of(whole.parent)


@pytest.mark.parametrize(
    ("engine", "shards", "given", "threads"),
    [
        (EngineOptions("processes", workers=3), 1, 3, 3),
        (EngineOptions("processes", workers=1), 2, None, None),
        (SERIAL, 2, None, None),
        (SERIAL, 2, 3, 3),
    ],
)
def test_slices_one_after_the_other_have_all_threads(tmp_path, monkeypatch, engine, shards, given, threads):
    told = []
    whole_of = slices.write_clips
    monkeypatch.setattr(slices, "write_clips", lambda *a, **o: (told.append(o["threads"]), whole_of(*a, **o)))
    in_slices(tmp_path, shards, engine, threads=given)
    assert told == [threads] * shards


def test_slices_side_by_side_have_a_thread_each():
    assert slices.threads_of_unit(EngineOptions("processes", workers=2), 2, 2) == 1
    assert slices.threads_of_unit(EngineOptions("ray"), 1, 8) == 1


def test_slices_of_array_tasks_count(tmp_path, whole):
    for index in (0, 3):
        make_slice("5dot", N, tmp_path / "ts.h5", Shard(index, 5), quiet=True)
    done = in_slices(tmp_path)
    assert (done.made, done.kept) == (3, 2)
    assert files_of(tmp_path) == files_of(whole.parent)


def test_a_relative_name_is_that_of_the_command(tmp_path, whole, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_in_slices("5dot", N, "ts.h5", SERIAL, shards=2, quiet=True)
    assert files_of(tmp_path) == files_of(whole.parent)


def begun(tmp_path: Path, *options: str):
    """A folder for data, and ``run(**environment)``, which begins a make there that can be poisoned."""
    script, folder = tmp_path / "poisoned.py", tmp_path / "data"
    script.write_text(POISONED)
    folder.mkdir()
    command = [sys.executable, str(script), "make", "--domain", "5dot", "--n", str(N), "--out", "ts.h5", "--json"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}

    def run(**more: str) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([*command, *options], cwd=folder, env={**environment, **more}, **pipes)

    return folder, run


def killed_when(found, process: subprocess.Popen[str]) -> None:
    """kill -9 when something is found; the command, which hangs by then, cannot end before."""
    while not found():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    process.kill()
    process.communicate()  # when its workers have ended too


def test_a_killed_make_goes_on(tmp_path, whole):
    folder, run = begun(tmp_path, "--engine", "processes", "--shards", "15")
    killed_when(lambda: list(folder.glob("ts-*")), run(HANG="1"))
    assert not (folder / "ts.h5").exists()
    kept = len(list(folder.glob("ts-*")))
    told = json.loads(run().communicate()[0])
    assert (told["slices_made"], told["slices_kept"]) == (15 - kept, kept)
    assert files_of(folder) == files_of(whole.parent)


def test_a_killed_make_of_one_slice_goes_on(tmp_path, whole):
    folder, run = begun(tmp_path, "--engine", "processes", "--threads", "2")
    killed_when(lambda: len(list(folder.glob(".*"))) == 2, run(HANG_WRITING="1"))
    told = json.loads(run().communicate()[0])
    assert (told["slices_made"], told["slices_kept"]) == (1, 0)
    assert files_of(folder) == files_of(whole.parent)


def test_a_slice_that_ends_its_process_costs_only_itself(tmp_path, whole):
    folder, run = begun(tmp_path, "--engine", "processes", "--shards", "5", "--threads", "2")
    (folder / "poison").touch()
    failed = run()
    said = failed.communicate()[1]
    assert failed.returncode == 4, said
    assert "1 of 5 units failed" in said
    assert "ts-00002-of-00005.h5: " in said
    assert sorted(path.name for path in folder.glob("*.h5")) == [f"ts-0000{i}-of-00005.h5" for i in (0, 1, 3, 4)]
    (folder / "poison").unlink()
    assert json.loads(run().communicate()[0])["slices_kept"] == 4
    assert files_of(folder) == files_of(whole.parent)


# --- what is refused -------------------------------------------------------------------------------------------------


def test_an_existing_file_and_strange_slices_are_kept(tmp_path, whole):
    (tmp_path / "ts.h5").write_text("precious")
    with pytest.raises(UsageError, match="exists; give another name or add --force"):
        in_slices(tmp_path)
    strange = make_slice("5dot", N, tmp_path / "ts.h5", Shard(1, 5), seed=1, quiet=True).path
    before = strange.read_bytes()
    (tmp_path / "ts.h5").unlink()
    with pytest.raises(UsageError, match=r"is not slice 1/5 of this recipe.* add --force"):
        in_slices(tmp_path)
    assert strange.read_bytes() == before
    assert not (tmp_path / "ts.h5").exists()
    in_slices(tmp_path, force=True)
    assert files_of(tmp_path) == files_of(whole.parent)


def test_slices_left_beside_the_whole_are_named_and_cleared(tmp_path, whole):
    shutil.copy(whole, tmp_path)
    for index in range(2):
        make_slice("5dot", N, tmp_path / "ts.h5", Shard(index, 2), quiet=True)
    with pytest.raises(UsageError, match=r"exists, and slices lie beside it \(2, like ts-00000-of-00002.h5\).*--force"):
        in_slices(tmp_path, 2)
    done = in_slices(tmp_path, 2, force=True)
    assert (done.made, done.kept) == (0, 2)
    assert files_of(tmp_path) == files_of(whole.parent)


def test_a_folder_in_the_place_of_a_slice(tmp_path):
    (tmp_path / "ts-00001-of-00005.h5").mkdir()
    with pytest.raises(UsageError, match=r"ts-00001-of-00005.h5 is a directory"):
        in_slices(tmp_path)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shards": 0}, r"--shards 0 is not possible; allowed: 1\.\.1500"),
        ({"shards": N + 1}, r"--shards 1501 is not possible"),
        ({"threads": 0}, "threads 0 is not possible"),
        ({"split": "tset"}, "Did you mean 'test'"),
    ],
)
def test_requests_that_cannot_be_met(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        in_slices(tmp_path, **options)
    assert list(tmp_path.iterdir()) == []


def test_room_for_slices_and_result_is_asked_for(tmp_path, monkeypatch):
    asked: list[int] = []
    monkeypatch.setattr("tsgen.slices.check_free_space", lambda folder, needed, what: asked.append(needed))
    make_slice("5dot", N, tmp_path / "ts.h5", Shard(1, 5), quiet=True)
    in_slices(tmp_path)
    assert 9 * asked[0] < asked[1] < 10 * asked[0], "twice five slices, less the one that is there"


def test_a_machine_without_the_folder_says_so(tmp_path):
    (tmp_path / "probe").touch()
    check_sees(tmp_path / "probe", tmp_path)
    with pytest.raises(UsageError, match=r"machine '.*' does not see what this command writes in .*shared file system"):
        check_sees(tmp_path / "absent", tmp_path)


def test_one_slice_for_each_few_thousand_clips():
    from tsgen.recipe import make_recipe
    from tsgen.slices import _units

    assert [len(_units(make_recipe("2dot", n)[0], None)) for n in (1, SLICE_CLIPS, SLICE_CLIPS + 1)] == [1, 1, 2]


# --- the commands ----------------------------------------------------------------------------------------------------


def invoke(command, *arguments: object):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_a_slice_by_command_and_their_merge(tmp_path, whole):
    request = ("--domain", "5dot", "--n", N, "--out", tmp_path / "ts.h5")
    for index in range(2):
        made = invoke(make, *request, "--shard", f"{index}/2")
        assert f"slice {index}/2, clips {750 * index}..{750 * index + 749}, of 1500 clips of 5dot" in made.output
    parts = sorted(tmp_path.iterdir())
    again = invoke(make, *request, "--shard", "1/2")
    assert again.output.startswith(f"{parts[1]} is finished already and left alone: slice 1/2")
    told = json.loads(invoke(make, *request, "--shard", "1/2", "--json").output)
    assert (told["shard"], told["kept"], told["out"], told["recipe"]["first"]) == ("1/2", True, str(parts[1]), 750)
    assert "slice              1/2" in invoke(info, parts[1]).output
    told = json.loads(invoke(merge, *parts, "--out", tmp_path / "ts.h5", "--remove", "--json").output)
    assert (told["slices"], told["recipe"]["n"], told["bytes"]) == (2, N, (tmp_path / "ts.h5").stat().st_size)
    assert files_of(tmp_path) == files_of(whole.parent)
    assert told["content_hash"] in invoke(info, tmp_path / "ts.h5").output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--shard", "5/5"), "shards are counted from 0"),
        (("--shard", "1of5"), "give i/n, from 0/n to n-1/n, like 2/8"),
        (("--shard", "1/5", "--engine", "ray"), "leave --engine out"),
        (("--shard", "1/5", "--shards", "5"), "leave --shards out"),
        (("--engine", "proceses"), "Did you mean 'processes'"),
        (("--address", "auto"), "add --engine ray"),
        (("--engine", "processes", "--shards", "-1"), "--shards -1 is not possible"),
        (("--engine", "processes", "--threads", "0"), "threads 0 is not possible"),
    ],
)
def test_bad_options(tmp_path, options, message):
    result = invoke(make, "--domain", "2dot", "--n", 50, "--out", tmp_path / "ts.h5", *options)
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_merge_without_all_slices_is_a_data_error(tmp_path):
    made = make_slice("2dot", 50, tmp_path / "ts.h5", Shard(1, 4), quiet=True)
    result = invoke(merge, made.path, "--out", tmp_path / "ts.h5")
    assert isinstance(result.exception, DataError)
    assert "slices 0/4, 2/4, 3/4 are missing" in str(result.exception)
    assert invoke(merge, "--out", tmp_path / "ts.h5").exit_code == 2
