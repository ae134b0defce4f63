"""Joining sweeps whose shards ran on machines without common files. No torch."""

from __future__ import annotations

import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.results import RunDirectory, read_json
from benchmark.sweep.grid import Job, protocol_differences
from benchmark.sweep.store import STATES, SweepDirectory, is_held
from benchmark.sweep.summary import write_records
from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import atomic_folder, check_free_space

PREFERRED = ("done", "begun", "failed", "todo")
"""Of a job that several sweeps hold, finished in one at most, the first of these is kept."""


@dataclass(frozen=True)
class _Found:
    job: Job
    state: str
    store: SweepDirectory

    @property
    def run(self) -> RunDirectory:
        return self.store.run_directory(self.job)

    @property
    def rank(self) -> tuple[int, int]:
        """The first of its kind in PREFERRED, then the one with most epochs."""
        metrics = self.run.seed_path(self.job.seed, "metrics.jsonl")
        return PREFERRED.index(self.state), -metrics.stat().st_size if metrics.exists() else 0


def merge_sweeps(paths: Sequence[Path], out: Path, say: Callable[[str], None]) -> dict[str, int]:
    """Copy every job of the sweeps to ``out``, new or begun with the same protocol; how many are in each state there.

    A job is copied whole or not at all, so the same call goes on where another ended. UsageError for sweeps of another
    protocol; DataError for other clips, a job with two results, or a result that is not that of its predictions.
    """
    stores = [SweepDirectory(path) for path in paths]
    protocol = stores[0].read_protocol()
    for store in stores[1:]:
        differing = protocol_differences(protocol, store.read_protocol())
        if differing:
            raise UsageError(f"{store.path} has another protocol than {paths[0]} ({'; '.join(differing)}).")
    merged = SweepDirectory(out)
    merged.check_free(protocol)
    if merged.record_path.exists():
        stores.insert(0, merged)
    chosen = _choose(stores)
    _check_same_clips(chosen)
    with merged.opened(say):
        merged.begin(protocol)
        missing = [one for one in chosen if not _is_same_folder(one.run.path, merged.run_directory(one.job).path)]
        files = {one.job.name: list(_files(one.run.path)) for one in missing}
        needed = sum(path.stat().st_size for of_job in files.values() for path in of_job)
        check_free_space(out, needed, f"copying {len(missing)} jobs")
        for one in missing:
            if one.state != "done" and is_held(one.store.lock_path(one.job)):
                raise UsageError(
                    f"{one.run.path} is being worked on; wait until the sweep in {one.store.path} has ended."
                )
            final = merged.run_directory(one.job).path
            lock = merged.claim(one.job) if final.exists() else None
            if final.exists() and lock is None:
                raise UsageError(f"{final} is being worked on; wait until the sweep in {out} has ended.")
            _copy(one.run.path, files[one.job.name], final)
            if lock is not None:
                lock.close()
        write_records(merged)
    return {state: sum(one.state == state for one in chosen) for state in STATES}


def jobs_of_each(jobs: Sequence[Job]) -> list[str]:
    """For each model and source how many jobs, of which h: where a shard is missing, some have fewer."""
    numbers = Counter((job.config.model, job.config.source, job.config.hidden) for job in jobs)
    lines = []
    for model, source in dict.fromkeys((model, source) for model, source, _ in numbers):
        alike: dict[int, list[str]] = {}
        for (of_model, of_source, h), number in numbers.items():
            if (of_model, of_source) == (model, source):
                alike.setdefault(number, []).append(str(h))
        parts = [f"{number} of h {', '.join(hidden)}" for number, hidden in alike.items()]
        lines.append(f"{model} trained on {source}: {'; '.join(parts)}")
    return lines


def _choose(stores: Sequence[SweepDirectory]) -> list[_Found]:
    chosen: dict[str, _Found] = {}
    for store in stores:
        for job in store.begun_jobs():
            one = _Found(job, store.state(job), store)
            if one.state == "done":
                check_result(one.run, job)
            before = chosen.setdefault(job.name, one)
            if before.state == one.state == "done":
                if before.run.result_path.read_bytes() != one.run.result_path.read_bytes():
                    raise DataError(f"{before.run.path} and {one.run.path} have different results; remove one of them.")
            elif one.rank < before.rank:
                chosen[job.name] = one
    return list(chosen.values())


def check_result(run: RunDirectory, job: Job) -> None:
    """DataError unless the hits and content hashes of a finished job are those of its predictions."""
    result = run.read_result()
    try:
        hits = {name: each["hits"] for name, each in result["seeds"][0]["domains"].items()}
        hashes = {facts["domain"]: facts["content_hash"] for facts in result["data"] if facts["split"] != "train"}
    except (KeyError, IndexError, TypeError, AttributeError) as problem:
        raise DataError(f"{run.result_path} is damaged ({problem!r}); delete {run.path} to do the job again.") from None
    for (_, domain), each in run.read_predictions(job.config).items():
        if (hits.get(domain), hashes.get(domain)) != (int(each.correct.sum()), each.content_hash):
            raise DataError(f"{run.path}: result.json and the predictions on {domain} differ; leave this job out.")


def _check_same_clips(chosen: Sequence[_Found]) -> None:
    seen: dict[str, tuple[str, Path]] = {}
    for one in chosen:
        path = one.run.path / "data.json"
        digests = read_json(path) if path.exists() else {}
        if not isinstance(digests, dict):
            raise DataError(f"{path} is damaged.")
        for name, digest in digests.items():
            before, where = seen.setdefault(name, (digest, one.run.path))
            if before != digest:
                raise DataError(f"{one.run.path} and {where} are about other clips of {name}; they are no one sweep.")


def _is_same_folder(one: Path, other: Path) -> bool:
    return other.exists() and one.samefile(other)


def _files(run: Path) -> Iterator[Path]:
    """Of a run directory; hidden ones, like the lock, are of the machine that wrote them."""
    for path in sorted(run.rglob("*")):
        if any(part.startswith(".") for part in path.relative_to(run).parts):
            continue
        mode = path.lstat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise DataError(f"{path} is no plain file; a run directory holds nothing else, remove it.")
        if stat.S_ISREG(mode):
            yield path


def _copy(run: Path, files: Sequence[Path], final: Path) -> None:
    with atomic_folder(final) as partial:
        for path in files:
            copy = partial / path.relative_to(run)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
