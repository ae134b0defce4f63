"""The directory of a sweep. The state of a job is what its files say; nothing is kept in a second place. No torch.

sweep.json      the protocol, and that this is a sweep
jobs/<name>/    a run directory for each job (benchmark.results), with .lock and, after a failure, failed.json
records.jsonl   one line a finished job, made anew from their results
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmark.data import DataPlan
from benchmark.results import RunDirectory, read_json
from benchmark.sweep.grid import Job, check_protocol, protocol_differences
from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import write_json_atomic

FORMAT = "rac-bench-sweep"
SCHEMA_VERSION = 1
STATES = ("done", "failed", "begun", "todo")
LOCK_NAME = ".lock"
OUR_LEFTOVERS = (LOCK_NAME, ".sweep.json.")  # what a kill in the very first moment may leave
LOCK_POLL_S = 0.2


@dataclass(frozen=True)
class SweepDirectory:
    """Paths and records of one sweep."""

    path: Path

    @property
    def record_path(self) -> Path:
        return self.path / "sweep.json"

    @property
    def records_path(self) -> Path:
        return self.path / "records.jsonl"

    @property
    def jobs_path(self) -> Path:
        return self.path / "jobs"

    def run_directory(self, job: Job) -> RunDirectory:
        return RunDirectory(self.jobs_path / job.name)

    def lock_path(self, job: Job) -> Path:
        return self.jobs_path / job.name / LOCK_NAME

    def check_free(self, protocol: dict[str, Any]) -> None:
        """UsageError when the path is taken by something else, or by a sweep of another protocol. Writes nothing."""
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"--out {self.path} is a file; give a directory.")
        if self.record_path.exists():
            differing = protocol_differences(self.read_protocol(), protocol)
            if differing:
                raise UsageError(
                    f"--out {self.path} was begun with another protocol ({'; '.join(differing)}). "
                    "Ask for the same, or give another --out."
                )
        elif self.path.exists() and any(not each.name.startswith(OUR_LEFTOVERS) for each in self.path.iterdir()):
            raise UsageError(f"--out {self.path} is not empty and holds no sweep; give another directory.")

    @contextlib.contextmanager
    def opened(self, say: Callable[[str], None]) -> Iterator[None]:
        """Alone in the directory: for what must not be done by two sweeps at once, and takes a moment only."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = wait_for_lock(self.path / LOCK_NAME, lambda: say(f"waiting for another sweep in {self.path}"))
        except OSError as problem:
            raise UsageError(f"--out {self.path} cannot be written: {problem}.") from problem
        with handle:
            yield

    def begin(self, protocol: dict[str, Any]) -> None:
        """Make it a sweep of this protocol; to be called when opened."""
        self.check_free(protocol)
        if not self.record_path.exists():
            record = {"format": FORMAT, "schema_version": SCHEMA_VERSION, "protocol": protocol}
            write_json_atomic(self.record_path, record)
        self.jobs_path.mkdir(exist_ok=True)

    def read_protocol(self) -> dict[str, Any]:
        if not self.record_path.is_file():
            raise DataError(f"{self.path} is not the directory of a sweep: it has no sweep.json.")
        record = read_json(self.record_path)
        known = isinstance(record, dict) and record.get("format") == FORMAT
        if not known or record.get("schema_version") != SCHEMA_VERSION or not isinstance(record.get("protocol"), dict):
            raise DataError(f"{self.record_path} is not a sweep of schema version {SCHEMA_VERSION}.")
        protocol: dict[str, Any] = record["protocol"]
        return protocol

    def state(self, job: Job) -> str:
        """One of ``STATES``."""
        directory = self.run_directory(job)
        if directory.result_path.exists():
            return "done"
        if (directory.path / "failed.json").exists():
            return "failed"
        return "begun" if directory.seed_path(job.seed, "state.safetensors").exists() else "todo"

    def begun_jobs(self) -> list[Job]:
        """Every job that has a directory with a config, whatever grid it was part of, sorted.

        DataError when one of them is not a job of this sweep: renamed, or of another protocol.
        """
        protocol = self.read_protocol()
        jobs = []
        for path in self.jobs_path.glob("[!.]*/config.json"):  # hidden: what a killed merge was about to copy
            config = RunDirectory(path.parent).read_config()
            if len(config.seeds) != 1 or Job(config).name != path.parent.name:
                raise DataError(f"{path.parent} is not a job of this sweep: its name and its config differ.")
            check_protocol(config, protocol, str(path.parent))
            jobs.append(Job(config))
        return sorted(jobs, key=lambda job: (*job.family, job.config.source, job.seed))

    def check_same_clips(self, plans: Sequence[DataPlan]) -> None:
        """UsageError when jobs of this sweep were begun with other clips, for example other digits."""
        wanted = {name: digest for plan in plans for name, digest in plan.digests().items()}
        for job in self.begun_jobs():
            path = self.run_directory(job).path / "data.json"
            begun = read_json(path) if path.exists() else {}
            if not isinstance(begun, dict):
                raise DataError(f"{path} is damaged.")
            differing = [name for name, digest in wanted.items() if begun.get(name, digest) != digest]
            if differing:
                raise UsageError(
                    f"--out {self.path}: {job.name} was begun with other clips of {', '.join(differing)}; "
                    "give the same --digits, or another --out."
                )

    def claim(self, job: Job) -> IO[bytes] | None:
        """The lock of a job, held until closed or the process ends; None when somebody else holds it."""
        directory = self.run_directory(job)
        directory.path.mkdir(parents=True, exist_ok=True)
        handle = try_lock(self.lock_path(job))
        # A lock is a file, and a directory that is not empty needs a config to be taken for a run.
        if handle and not any(not each.name.startswith(".") for each in directory.path.iterdir()):
            write_json_atomic(directory.config_path, job.config.to_json())
        return handle

    def mark_failed(self, job: Job, error: str) -> None:
        """Keep why a job failed; what it has computed stays and is gone on from when it is tried again."""
        before = self.failure(job)
        path = self.run_directory(job).path / "failed.json"
        write_json_atomic(path, {"error": error, "attempts": before.get("attempts", 0) + 1})

    def clear_failure(self, job: Job) -> None:
        (self.run_directory(job).path / "failed.json").unlink(missing_ok=True)

    def failure(self, job: Job) -> dict[str, Any]:
        """``error`` in words and ``attempts``; empty when the job has not failed."""
        path = self.run_directory(job).path / "failed.json"
        value = read_json(path) if path.exists() else {}
        return value if isinstance(value, dict) else {}


def try_lock(path: Path) -> IO[bytes] | None:
    """An exclusive lock that goes with the process, however it ends; the file names the process. None when held."""
    try:
        import fcntl
    except ImportError:
        raise UsageError("a sweep needs the file locks of Linux or macOS; here, use rac-bench run.") from None
    handle = path.open("ab")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.close()
        return None
    except BaseException:
        handle.close()
        raise
    handle.truncate(0)
    handle.write(f"{os.getpid()}\n".encode())
    handle.flush()
    return handle


def is_held(path: Path) -> bool:
    """Whether somebody holds that lock. Writes nothing: the folder may be one that can only be read."""
    import fcntl

    try:
        with path.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such file, or a file system without locks
        return False
    return False


def wait_for_lock(path: Path, on_wait: Callable[[], None]) -> IO[bytes]:
    """As :func:`try_lock`, but patient; ``on_wait`` is called once when there is something to wait for."""
    handle = try_lock(path)
    if handle is None:
        on_wait()
    while handle is None:
        time.sleep(LOCK_POLL_S)
        handle = try_lock(path)
    return handle
