from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import h5py
import pytest
from clip_values import content_hash

import tsgen
from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import _host
from tsgen.domains import DOMAINS


def test_threads_and_blocks_change_nothing(tmp_path):
    hashes = set()
    for number, options in enumerate(
        [{"threads": 1}, {"threads": 3, "block_clips": 7}, {"threads": 2, "block_clips": 64}]
    ):
        path = tmp_path / f"{number}.h5"
        tsgen.make("mnist-bg", 150, path, digits="embedded", **options)
        hashes.add(content_hash(path))
    assert len(hashes) == 1


@pytest.mark.parametrize(("n", "block_clips"), [(2500, 700), (2048, 1024), (3000, 2500), (1025, 1)])
def test_columns_are_whole_whatever_the_blocks(tmp_path, n, block_clips):
    """Rows of several blocks share a column chunk, and the last chunk is not full."""
    tsgen.make("2dot", n, tmp_path / "ts.h5", block_clips=block_clips)
    with tsgen.open_clips(tmp_path / "ts.h5") as clip_set, h5py.File(tmp_path / "ts.h5") as file:
        clip_set.check_content()
        assert (file["clip_id"][...] == range(n)).all()
        assert file["boxes"].chunks[0] == 1024
        assert (file["boxes"].compression, file["boxes"].shuffle) == ("gzip", True)


def test_clip_i_is_the_same_whatever_n(tmp_path):
    for n in (33, 120):
        tsgen.make("mnist", n, tmp_path / f"{n}.h5", seed=3, split="val", digits="embedded")
    with tsgen.open_clips(tmp_path / "33.h5") as few, tsgen.open_clips(tmp_path / "120.h5") as many:
        assert (few.clips() == many.clips(0, 33)).all()
        assert few.content_hash != many.content_hash


def test_seed_zero_is_a_seed(tmp_path):
    for seed in (0, 1):
        tsgen.make("2dot", 20, tmp_path / f"{seed}.h5", seed=seed)
    assert content_hash(tmp_path / "0.h5") != content_hash(tmp_path / "1.h5")


def test_an_existing_file_is_kept(tmp_path):
    path = tmp_path / "ts.h5"
    path.write_text("precious")
    with pytest.raises(UsageError, match="--force"):
        tsgen.make("2dot", 5, path)
    assert path.read_text() == "precious"
    tsgen.make("2dot", 5, path, force=True)
    assert len(content_hash(path)) == 64


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "ts.h5"
    tsgen.make("2dot", 5, path)
    before = path.read_bytes()

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tsgen.clipfile.ClipWriter.write", fail)
    with pytest.raises(DataError, match="disk full"):
        tsgen.make("2dot", 500, path, force=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


LIMITED = """
import resource, sys, tsgen, tsgen.generate
tsgen.generate.check_free_space = lambda *ignored: None  # else it would refuse at once
if sys.argv[2] != "none":
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    tsgen.make(sys.argv[1], 5000, "ts.h5", digits="embedded", quiet=True)
except tsgen.common.errors.DataError as problem:
    print(problem)
"""


@pytest.mark.parametrize(("domain", "limit"), [("2dot", 20_000), ("2dot", 700_000), ("mnist-bg", 9_000_000)])
def test_a_file_that_may_not_grow_ends_in_one_error_and_no_file(tmp_path, domain, limit):
    arguments = [sys.executable, "-c", LIMITED, domain, str(limit)]
    result = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, "HDF5 must not take the process down with it"
    assert "File too large" in result.stdout
    assert result.stderr == ""
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_ends_in_one_error_and_no_file(tmp_path):
    """A real one: a file system of 600 kB in memory, where this may be mounted."""
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(tmp_path)], capture_output=True
    ).returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        arguments = [sys.executable, "-c", LIMITED, "2dot", "none"]
        result = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        left = list(tmp_path.iterdir())
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
    assert (result.returncode, result.stderr, left) == (0, "", [])
    assert "No space left on device" in result.stdout


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_make_leaves_nothing(tmp_path, sent):
    code = "import sys; from tsgen.cli import main; main()"
    arguments = ["make", "--domain", "2dot", "--n", "3000000", "--out", "big.h5"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A suite that was itself started in the background has Ctrl-C ignored, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - no threads here
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".big.h5.partial-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(sent)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted: no half-written result" in errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_a_killed_make_leaves_nothing_that_opens_and_the_next_clears_it(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    stale = tmp_path / f".ts.h5.partial-0-{_host()}-{process.pid}"
    with h5py.File(stale, "w") as file:
        file["clips"] = [1]
    with pytest.raises(DataError, match="is not a clip file"):
        tsgen.open_clips(stale)
    alive = tmp_path / f".ts.h5.partial-0-{_host()}-{os.getppid()}"
    alive.touch()
    tsgen.make("2dot", 5, tmp_path / "ts.h5")
    assert not stale.exists()
    assert alive.exists()


def test_memory_does_not_grow_with_n(tmp_path):
    """Peak memory of 60 000 clips (4.9 GB of frames) against 6 000, each in a process of its own."""
    code = (
        "import resource, sys, tsgen; tsgen.make('2dot', int(sys.argv[1]), sys.argv[2], quiet=True);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = [
        int(subprocess.check_output([sys.executable, "-c", code, str(n), str(tmp_path / f"{n}.h5")]))
        for n in (6_000, 60_000)
    ]
    assert peaks[1] < peaks[0] * 1.2


@pytest.mark.parametrize(
    ("dials", "part"),
    [
        ({"background": "plaid"}, "background 'plaid'"),
        ({"sigma_low": 0}, "sigma"),
        ({"sigma_low": 5, "sigma_high": 4}, "sigma"),
        ({"intensity": 1.5}, "intensity 1.5"),
        ({"num_frames": 0}, "frames 0"),
        ({"size_px": 4}, "size 4"),
        ({"width_px": 0}, "width 0"),
    ],
)
def test_impossible_dials_are_refused(dials, part):
    with pytest.raises(UsageError, match=part):
        DOMAINS["mnist-bg"].with_dials(**dials)
