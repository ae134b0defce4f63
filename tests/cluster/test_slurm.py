"""The examples of docs/slurm, unchanged, on a real SLURM of two nodes: arrays, dependencies, requeues, failures."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from clip_values import values_of
from slurm_daemons import slurm_daemons

import tsgen

pytestmark = pytest.mark.cluster
EXAMPLES = Path(__file__).parents[2] / "docs" / "slurm"
TASKS_OK = {"0": "COMPLETED", "1": "COMPLETED", "2": "COMPLETED", "3": "COMPLETED"}
CLIPS = {"DOMAIN": "mnist-bg", "SEED": "3", "SHARDS": "4"}
NAME = "mnist-bg-train-seed3"


@pytest.fixture(scope="module")
def slurm():
    with slurm_daemons() as started:
        yield started


@pytest.fixture
def submit(slurm, tmp_path):
    """``submit(script, *steps, **settings)`` -> step: number of its job. Logs go to ``tmp_path/logs``."""
    (tmp_path / "logs").mkdir()
    common = {"OMP_NUM_THREADS": "1", "OUT": str(tmp_path / "out")}

    def run(script, *steps, **settings):
        at = ("env", f"--chdir={tmp_path / 'logs'}")
        printed = slurm.run(*at, EXAMPLES / "submit.sh", EXAMPLES / script, *steps, **common, **settings)
        return dict(line.split() for line in printed.splitlines())

    return run


def logs(tmp_path):
    return "\n".join(f"== {path.name}\n{path.read_text()}" for path in sorted((tmp_path / "logs").iterdir()))


def wait_for(found, slurm, seconds=180):
    until = time.monotonic() + seconds
    while not found():
        if time.monotonic() > until:
            pytest.fail(f"nothing of what was waited for in {seconds} s:\n{slurm.run('squeue')}")
        time.sleep(0.05)


def test_an_array_and_its_merge_give_the_file_of_one_machine(slurm, submit, tmp_path):
    jobs = submit("temporal_shape.sbatch", "make", "merge", N="203", **CLIPS)
    assert slurm.wait(*jobs.values()) == [TASKS_OK, {"": "COMPLETED"}], logs(tmp_path)
    tsgen.make("mnist-bg", 203, tmp_path / "whole.h5", seed=3, digits="embedded")
    assert values_of(tmp_path / "out" / f"{NAME}.h5") == values_of(tmp_path / "whole.h5")
    names = [f"temporal-shape-{jobs['make']}_{task}.log" for task in range(4)]
    names += [f"temporal-shape-{jobs['merge']}.log"]
    assert {path.name for path in (tmp_path / "logs").iterdir()} == set(names)


def test_an_array_of_one_task_is_the_whole_file(slurm, submit, tmp_path):
    jobs = submit("temporal_shape.sbatch", "make", "merge", N="20", **{**CLIPS, "SHARDS": "1"})
    assert slurm.wait(*jobs.values()) == [{"0": "COMPLETED"}, {"": "COMPLETED"}], logs(tmp_path)
    tsgen.make("mnist-bg", 20, tmp_path / "whole.h5", seed=3, digits="embedded")
    assert values_of(tmp_path / "out" / f"{NAME}.h5") == values_of(tmp_path / "whole.h5")


def test_a_task_that_is_requeued_in_the_middle_changes_nothing(slurm, submit, tmp_path):
    jobs = submit("temporal_shape.sbatch", "make", "merge", N="4001", **{**CLIPS, "SHARDS": "2"})
    task = f"{jobs['make']}_1"
    wait_for(lambda: any((tmp_path / "out").glob(f".{NAME}-00001-of-00002.h5.partial-*")), slurm)
    slurm.run("scontrol", "requeue", task)
    tasks, merge = slurm.wait(*jobs.values())
    assert tasks == {"0": "COMPLETED", "1": "COMPLETED"} and merge == {"": "COMPLETED"}, logs(tmp_path)
    assert slurm.restarts(task) == 1
    tsgen.make("mnist-bg", 4001, tmp_path / "whole.h5", seed=3, digits="embedded")
    with tsgen.open_clips(tmp_path / "out" / f"{NAME}.h5") as merged, tsgen.open_clips(tmp_path / "whole.h5") as whole:
        assert merged.content_hash == whole.content_hash
    assert not list((tmp_path / "out").glob(".*")), "the first attempt's half of a file is still there"


def test_a_failed_task_keeps_the_merge_from_starting_and_the_rest_from_being_made_again(slurm, submit, tmp_path):
    blocked = tmp_path / "out" / f"{NAME}-00002-of-00004.h5"
    blocked.mkdir(parents=True)
    jobs = submit("temporal_shape.sbatch", "make", "merge", N="203", **CLIPS)
    tasks, merge = slurm.wait(*jobs.values())
    assert tasks == {**TASKS_OK, "2": "FAILED"} and merge == {"": "CANCELLED"}
    assert "is a directory" in logs(tmp_path)
    out = tmp_path / "out"
    made = {path: path.stat().st_mtime_ns for path in out.glob("*.h5") if path != blocked}
    assert len(made) == 3

    blocked.rmdir()
    jobs = submit("temporal_shape.sbatch", "make", "merge", N="203", **CLIPS)
    assert slurm.wait(*jobs.values()) == [TASKS_OK, {"": "COMPLETED"}], logs(tmp_path)
    assert made == {path: path.stat().st_mtime_ns for path in made}
    tsgen.make("mnist-bg", 203, tmp_path / "whole.h5", seed=3, digits="embedded")
    assert values_of(out / f"{NAME}.h5") == values_of(tmp_path / "whole.h5")


GRID = "--models 3dcnn --hidden 2 --sources 2dot --seeds 1,2 --preset quick --n-train 100 --n-val 50 --n-target 50"
GRID = (*GRID.split(), "--epochs", "8", "--patience", "8")


def test_a_sweep_that_runs_out_of_time_is_requeued_and_ends_in_the_same_records(slurm, tmp_path):
    settings = {"OUT": str(tmp_path / "swept"), "RAC_DATA_DIR": str(tmp_path / "clips"), "OMP_NUM_THREADS": "1"}
    log = tmp_path / "logs" / "%a.log"
    log.parent.mkdir()
    command = ("sbatch", "--parsable", "--array=0-1", f"--output={log}", EXAMPLES / "sweep.sbatch", *GRID)
    # SHARDS: of clips that were made before, from the same shell.
    job = slurm.run(*command, SHARDS="32", SWEEP_SHARDS="2", **settings).strip()
    begun = {0: "3dcnn-h2-2dot-seed1", 1: "3dcnn-h2-2dot-seed2"}

    def told_all():
        for task, name in list(begun.items()):
            if (tmp_path / "swept" / "jobs" / name / f"seed{task + 1}" / "state.safetensors").exists():
                # What --signal=B:TERM@120 does two minutes before the limit, which is too long for a test.
                slurm.run("scancel", "--signal=TERM", "--batch", f"{job}_{task}")
                del begun[task]
        return not begun

    wait_for(told_all, slurm)
    environment = slurm.environment(settings)
    whole = ("--out", tmp_path / "whole", "--digits", "embedded", "--device", "cpu", "--engine", "serial", *GRID)
    # While SLURM lets the requeued tasks wait.
    subprocess.run(["rac-bench", "sweep", *whole], env=environment, check=True, capture_output=True)
    assert slurm.wait(job) == [{"0": "COMPLETED", "1": "COMPLETED"}], logs(tmp_path)
    assert [slurm.restarts(f"{job}_{task}") for task in (0, 1)] == [1, 1], logs(tmp_path)

    summary = ("--out", tmp_path / "swept", "--summary")
    subprocess.run(["rac-bench", "sweep", *summary], env=environment, check=True, capture_output=True)
    records = (tmp_path / "whole" / "records.jsonl").read_bytes()
    assert records.count(b"\n") == 2
    assert (tmp_path / "swept" / "records.jsonl").read_bytes() == records


@pytest.fixture
def dives(tmp_path):
    """A folder in Diving48's form with five small clips, and a segmenter of random weights."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("torchvision")
    pytest.importorskip("av")
    import numpy as np

    from diving48_domains.annotations import ClipEntry, write_list
    from diving48_domains.segmenter.checkpoint import save_segmenter
    from diving48_domains.segmenter.network import NetworkSpec, build_network
    from diving48_domains.video import write_video

    torch.set_num_threads(1)
    clip_ids = [f"abcdefghijk_{number:05d}" for number in range(5)]
    (tmp_path / "data" / "rgb").mkdir(parents=True)
    for number, clip_id in enumerate(clip_ids):
        frames = np.random.default_rng(number).integers(0, 256, (6 + number, 48, 64, 3)).astype(np.uint8)
        write_video(tmp_path / "data" / "rgb" / f"{clip_id}.mkv", frames, 25, "ffv1")
    write_list(tmp_path / "data" / "Diving48_V2_test.json", [ClipEntry(clip_id, 8) for clip_id in clip_ids])
    spec = NetworkSpec("tiny", "group")
    (tmp_path / "net").mkdir()
    save_segmenter(tmp_path / "net", spec, build_network(spec, seed=1).state_dict(), {})
    return tmp_path


def test_the_divers_and_domains_of_a_split_in_four_steps(slurm, submit, dives):
    from click.testing import CliRunner

    from diving48_domains.cli import group

    settings = {"DATA": str(dives / "data"), "SEGMENTER": str(dives / "net"), "DEVICE": "cpu", "SHARDS": "2"}
    settings |= {"FRAMES": "4", "SIZE": "32x24", "BLUR_SIGMA": "3"}
    jobs = submit("diving48.sbatch", "segment", "merge-instances", "build", "merge", **settings)
    both, one = {"0": "COMPLETED", "1": "COMPLETED"}, {"": "COMPLETED"}
    assert slurm.wait(*jobs.values()) == [both, one, both, one], logs(dives)

    def run(*arguments):
        done = CliRunner().invoke(group, [*map(str, arguments)], catch_exceptions=False)
        assert done.exit_code == 0, done.output

    instances = dives / "whole.h5"
    data = ("--data", dives / "data", "--frames", "4")
    # As many threads as a task has: another number may change last bits of the network's output.
    run("segment", *data, "--segmenter", dives / "net", "--device", "cpu", "--threads", "4", "--out", instances)
    assert (dives / "out" / "instances-test.h5").read_bytes() == instances.read_bytes()
    look = ("--size", "32x24", "--threshold", "0.4", "--blur-sigma", "3", "--workers", "0", "--out", dives / "domains")
    run("build", *data, "--instances", instances, *look)
    stores = sorted((dives / "domains" / "test").glob("*.h5"))
    assert len(stores) == 7
    for store in stores:
        assert (dives / "out" / "test" / store.name).read_bytes() == store.read_bytes(), store.name


def test_one_command_on_the_ray_of_an_allocation(slurm, tmp_path):
    """Of one node: with a second one Ray wants an address outside of loopback."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'recur-attend-convolve[scale]'")
    log, out = tmp_path / "log.txt", tmp_path / "ts.h5"
    submit = ("sbatch", "--parsable", "--nodes=1", f"--output={log}", EXAMPLES / "ray.sbatch")
    settings = {"HEAD_IP": "127.0.0.1", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    settings["START_OPTIONS"] = "--object-store-memory=104857600"
    tell = ("bash", "-c", 'test -d "$RAY_TMPDIR/ray" && echo "Ray is in $RAY_TMPDIR." && exec "$@"', "tell")
    make = ("tsgen", "make", "--domain", "2dot", "--n", "50", "--shards", "3", "--out", out)
    job = slurm.run(*submit, *tell, *make, **settings)
    assert slurm.wait(job.strip()) == [{"": "COMPLETED"}], log.read_text()
    assert "made by engine ray" in log.read_text()
    assert not Path(re.findall(r"Ray is in (/tmp/ray-\w{6})\.", log.read_text())[0]).exists()
    tsgen.make("2dot", 50, tmp_path / "whole.h5")
    assert values_of(out) == values_of(tmp_path / "whole.h5")


@pytest.mark.parametrize(("code", "kept"), [(3, False), (4, True)])
def test_a_command_that_fails_at_once_ends_its_ray_on_both_nodes(slurm, tmp_path, code, kept):
    """In place of Ray a process that stays: of Ray itself two nodes want an address outside of loopback."""
    log, stays = tmp_path / "log.txt", tmp_path / "bin" / "ray"
    stays.parent.mkdir()
    stays.write_text('#!/bin/sh\n[ "$1" = status ] || exec sleep 600\n')
    stays.chmod(0o755)
    path = os.pathsep.join([str(stays.parent), slurm.environment({})["PATH"]])
    fails = ("bash", "-c", f'echo "Ray is in $RAY_TMPDIR."; exit {code}', "fails")
    command = ("sbatch", "--parsable", "--nodes=2", f"--output={log}", EXAMPLES / "ray.sbatch", *fails)
    job = slurm.run(*command, PATH=path, HEAD_IP="127.0.0.1").strip()
    assert slurm.wait(job, seconds=60) == [{"": "FAILED"}], log.read_text()
    folder = Path(re.findall(r"Ray is in (/tmp/ray-\w{6})\.", log.read_text())[0])
    assert (f"Ray's logs are kept: {folder} on n[0-1]" in log.read_text()) == kept == folder.is_dir()
    shutil.rmtree(folder, ignore_errors=True)


def test_no_process_outlives_the_daemons(slurm):
    """Also those of a second SLURM, in the middle of a job."""
    with slurm_daemons() as second:
        said = second.folder / "said.txt"
        second.run("sbatch", f"--output={said}", "--wrap", "echo $$; sleep 600")
        wait_for(lambda: said.is_file() and said.read_text().strip(), second)
        process = int(said.read_text())
        os.kill(process, 0)
    assert not second.folder.exists()
    state = Path(f"/proc/{process}/stat")
    assert not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z"
    assert slurm.run("sinfo", "--noheader", "--format=%D").strip() == "2"
