"""How time, memory and files grow with the number of clips, videos, runs, slices and units.

    .venv/bin/python perf/growth.py                  # every size: an hour on two cores, 20 GB of disk
    .venv/bin/python perf/growth.py --quick --out q.json   # up to 10^4 clips: ten minutes
    .venv/bin/python perf/growth_docs.py             # then: the tables and the figure of docs/growth.md

A point is a real command in a new process. Wall time and CPU time (user and system) are those of the process and of all
that it waited for (``wait4``). Peak memory is looked at every 50 ms: resident memory, summed over the process and all
below it; pages that processes share count in each (Linux). Beside it stands the peak of the largest single process,
which the kernel keeps. Outputs are deleted when their scenario is done. Rounds go through all scenarios, so that a
while in which the machine was busy hits all alike. The file of results is written after every point, and the same
command goes on where it was stopped; what does not fit on the disk is left out and says so.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(sys.path.pop(0))  # tsgen.py beside this file has the name of the package: let that be found first

from measure import RESULTS, machine

from tsgen.common.files import write_json_atomic

MODULES = {"tsgen": "tsgen", "d48dom": "diving48_domains", "rac-bench": "benchmark"}
PACKAGES = ("recur-attend-convolve", "numpy", "numba", "h5py", "isal", "torch", "av", "ray")
CLIP_BYTES = {"5dot": 700, "mnist-bg": 52_000}
STORED_CLIP_BYTES = 32 * 224 * 224 * 3  # of d48dom, not compressed
SIX_DOMAINS = "C,S1,S2,T,T_union,B"
QUICK_CLIPS, QUICK_VIDEOS, QUICK_SLICES, QUICK_ROUNDS = 10_000, 30, 16, 2
SAMPLE_S = 0.05
ROOM = 1.2  # free disk space asked for, relative to what the outputs will take

UNITS = "from tsgen.common.engine import *; print(len(list(run_units(Work(abs), range({n}), EngineOptions({name!r})))))"


@dataclass(frozen=True)
class Step:
    """A command in its scenario's folder. ``measure`` None: it only prepares; ``n`` counts ``unit``; ``out`` is what it
    writes, None for nothing.
    """

    measure: str | None
    n: int
    unit: str
    arguments: tuple[str, ...]
    out: str | None = None

    @property
    def shown(self) -> str:
        return f'python -c "{self.arguments[2]}"' if self.arguments[0] == "python" else " ".join(self.arguments)

    @property
    def argv(self) -> list[str]:
        program, *arguments = self.arguments
        if program == "python":
            return [sys.executable, *arguments]
        return [sys.executable, "-c", f"from {MODULES[program]}.cli import main; main()", *arguments]


@dataclass(frozen=True)
class Scenario:
    """Commands that share a folder. ``seconds``: roughly, on two cores; ``disk_bytes``: what all outputs take."""

    name: str
    steps: tuple[Step, ...]
    seconds: float
    disk_bytes: float = 0.0

    def rounds(self, quick: bool) -> int:
        return QUICK_ROUNDS if quick else 5 if self.seconds < 20 else 3 if self.seconds < 150 else 1


def shapes(domain: str, n: int, seconds: float) -> Scenario:
    """Make, read and check, and the same clips as four slices that are merged."""
    make = ("tsgen", "make", "--domain", domain, "--n", str(n), "--digits", "embedded", "--out")
    steps = (
        Step(f"tsgen make, {domain}", n, "clips", (*make, "clips.h5"), "clips.h5"),
        Step(f"tsgen info, {domain}", n, "clips", ("tsgen", "info", "clips.h5")),
        *slices(make, n, 4),
        Step(f"tsgen merge of 4 slices, {domain}", n, "clips", merge(4), "merged.h5"),
    )
    return Scenario(f"{domain}, {n:,} clips", steps, seconds, 3 * n * CLIP_BYTES[domain])


def slices(make: tuple[str, ...], n: int, count: int) -> tuple[Step, ...]:
    return tuple(Step(None, n, "clips", (*make, "ts.h5", "--shard", f"{i}/{count}")) for i in range(count))


def merge(count: int) -> tuple[str, ...]:
    return ("tsgen", "merge", *(f"ts-{i:05d}-of-{count:05d}.h5" for i in range(count)), "--out", "merged.h5")


def many_slices(count: int) -> Scenario:
    n = 10_000
    make = ("tsgen", "make", "--domain", "5dot", "--n", str(n), "--out")
    steps = (*slices(make, n, count), Step("tsgen merge of 10,000 clips", count, "slices", merge(count), "merged.h5"))
    return Scenario(f"{count} slices", steps, 1.1 * count + 2)


def videos(n: int) -> Scenario:
    """Mini-Diving48 at its own size: made, packed, built. Six domains of 1000 videos would fill a disk: not built."""
    mini = ("d48dom", "mini", "--out", "mini", "--train", str(n), "--val", "0", "--test", "0", "--shift", "0")
    pack = ("d48dom", "pack", "--data", "mini", "--out", "packed", "--val-share", "0.2")
    steps = [
        Step("d48dom mini", n, "videos", (*mini, "--swap", "0", "--labels", "0+0"), "mini"),
        Step("d48dom pack", n, "videos", pack, "packed"),
    ]
    disk: float = n * STORED_CLIP_BYTES
    if n <= 100:
        build = ("d48dom", "build", "--data", "mini", "--instances", "truth", "--split", "train", "--out", "built")
        name = "d48dom build, six domains"
        steps.append(Step(name, n, "videos", (*build, "--domains", SIX_DOMAINS), "built"))
        disk *= 7
    return Scenario(f"{n:,} videos of 160x120", tuple(steps), 0.4 * n + 12, disk)


def large_videos(most: int) -> Scenario:
    """At the real size, made once and built in parts."""
    mini = ("d48dom", "mini", "--out", "mini", "--size", "640x480", "--train", str(most), "--val", "0", "--test", "0")
    build = ("d48dom", "build", "--data", "mini", "--instances", "truth", "--split", "train", "--domains", SIX_DOMAINS)
    steps = [Step("d48dom mini, 640x480", most, "videos", (*mini, "--shift=0", "--swap=0", "--labels=0+0"), "mini")]
    for n in (most // 4, most // 2, most):
        part = (*build, "--limit", str(n), "--out", f"built{n}")
        steps.append(Step("d48dom build, six domains, 640x480", n, "videos", part, f"built{n}"))
    return Scenario(f"{most:,} videos of 640x480", tuple(steps), 10.0 * most, 12 * most * STORED_CLIP_BYTES)


def runs(numbers: tuple[int, ...]) -> Scenario:
    """A run of one step of training: all that a run costs beside training, with the paper's numbers of test clips."""
    tiny = ("--models", "3dcnn", "--hidden", "2", "--sources", "2dot", "--epochs", "1", "--n-train", "64")
    here = ("--digits", "embedded", "--data-dir", "data", "--device", "cpu", "--workers", "1")
    sweep = ("rac-bench", "sweep", *tiny, *here)
    steps = [Step(None, 1, "runs", (*sweep, "--seeds", "0", "--out", "first"), "first")]
    for n in numbers:
        seeds = ",".join(map(str, range(n)))
        steps.append(Step("rac-bench sweep", n, "runs", (*sweep, "--seeds", seeds, "--out", f"runs{n}"), f"runs{n}"))
    return Scenario(f"sweeps of {', '.join(map(str, numbers))} runs", tuple(steps), 5.0 * sum(numbers) + 20)


def units(name: str, n: int) -> Scenario:
    """Units that do nothing: what an engine itself costs."""
    step = Step(f"engine {name}", n, "units", ("python", "-c", UNITS.format(n=n, name=name)))
    return Scenario(f"engine {name}, {n:,} units", (step,), 5 + n * 1.5e-3 if name == "ray" else 0.2 + n * 1e-4)


def warm_up() -> Scenario:
    """What compiles once and is kept: a first run of a checkout takes half a minute longer than all others."""
    clip = ("tsgen", "make", "--domain", "mnist-bg", "--n", "1", "--digits", "embedded", "--out", "clip.h5")
    mini = ("d48dom", "mini", "--out", "mini", "--train", "2", "--val=0", "--test=0", "--shift=0", "--swap=0")
    build = ("d48dom", "build", "--data", "mini", "--instances", "truth", "--split", "train", "--out", "built")
    commands = (clip, ("tsgen", "info", "clip.h5"), (*mini, "--labels=0+0"), build)
    return Scenario("warm-up", tuple(Step(None, 1, "", command) for command in commands), 10)


def scenarios(quick: bool) -> list[Scenario]:
    made = [shapes("5dot", n, 9 + n * 3.6e-4) for n in (10**3, 10**4, 10**5, 10**6)]
    made += [shapes("mnist-bg", n, 8 + n * 9.5e-4) for n in (10**3, 10**4, 10**5, 10**6)]
    if quick:
        made = [each for each in made if each.steps[0].n <= QUICK_CLIPS]
    made += [many_slices(count) for count in (4, 16, 64) if not quick or count <= QUICK_SLICES]
    made += [videos(n) for n in (10, 30, 100, 1000) if not quick or n <= QUICK_VIDEOS]
    made += [large_videos(4 if quick else 8), runs((2, 4) if quick else (2, 4, 8))]
    return made + [units(name, n) for name in ("serial", "processes", "ray") for n in (10**2, 10**3, 10**4)]


def tree_bytes(pid: int) -> int:
    """Resident memory of a process and all below it; 0 where there is no ``/proc``, or when it has ended."""
    total = 0
    try:
        total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(map(tree_bytes, map(int, (task / "children").read_text().split())))
    except (OSError, ProcessLookupError):
        pass
    return total


def measured(step: Step, folder: Path) -> dict[str, float]:
    """Runs it; wall and CPU seconds, MiB. ``CalledProcessError`` with its last words where it fails."""
    peak, ended = [0], threading.Event()
    with tempfile.TemporaryFile() as words:

        def watch() -> None:
            while not ended.wait(SAMPLE_S):
                peak[0] = max(peak[0], tree_bytes(child.pid))

        watcher = threading.Thread(target=watch, daemon=True)
        begun = time.perf_counter()
        child = subprocess.Popen(step.argv, cwd=folder, stdout=words, stderr=words, start_new_session=True)
        try:
            watcher.start()
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:
            os.killpg(child.pid, signal.SIGKILL)  # its session is its own, and so Ctrl-C did not reach it
            raise
        finally:
            ended.set()
        wall = time.perf_counter() - begun
        watcher.join()
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            words.seek(0)
            raise subprocess.CalledProcessError(
                child.returncode, step.shown, words.read()[-400:].decode("utf-8", "replace")
            )
    # ru_maxrss begins with that of the process which started it: this one, which is small.
    scale = 1 if sys.platform == "darwin" else 1024
    return {
        "wall_s": round(wall, 4),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 4),
        "tree_mib": round(peak[0] / 2**20, 1),
        "largest_mib": round(usage.ru_maxrss * scale / 2**20, 1),
    }


def bytes_of(path: Path) -> int:
    return (
        path.stat().st_size
        if path.is_file()
        else sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    )


def facts() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {**machine(*PACKAGES), "memory_gib": round(memory, 1)}


def opened(out: Path, quick: bool, machine_facts: dict[str, Any]) -> dict[str, Any]:
    """The results so far. Points of two machines or versions in one file would be no growth."""
    command = "python perf/growth.py" + (" --quick" if quick else "")
    empty = {"command": command, "machine": machine_facts, "points": [], "left_out": []}
    if not out.exists():
        return empty
    result: dict[str, Any] = json.loads(out.read_text())
    if result["machine"] != empty["machine"] or result["command"] != command:
        sys.exit(f"{out} was measured by `{result['command']}`, maybe on another machine or with other versions; give "
                 "another --out or delete it.")  # fmt: skip
    return {**result, "left_out": []}


def point_of(result: dict[str, Any], step: Step) -> dict[str, Any]:
    for point in result["points"]:
        if (point["measure"], point["n"]) == (step.measure, step.n):
            return point  # type: ignore[no-any-return]
    result["points"].append({"measure": step.measure, "n": step.n, "unit": step.unit, "command": step.shown,
                             "out_bytes": None, "runs": []})  # fmt: skip
    return result["points"][-1]  # type: ignore[no-any-return]


def missing(result: dict[str, Any], scenario: Scenario, round_number: int) -> bool:
    """Whether a point of the scenario has not been measured so often, counted from 0."""
    done = {(p["measure"], p["n"]): len(p["runs"]) for p in result["points"]}
    asked = [step for step in scenario.steps if step.measure is not None]
    return any(done.get((s.measure, s.n), 0) <= round_number for s in asked)


def do(scenario: Scenario, result: dict[str, Any], out: Path, work: Path | None) -> None:
    with tempfile.TemporaryDirectory(prefix="growth-", dir=work, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        for step in scenario.steps:
            found = measured(step, folder)
            if step.measure is None:
                continue
            point = point_of(result, step)
            point["runs"].append(found)
            point["out_bytes"] = bytes_of(folder / step.out) if step.out else None
            result["date"] = datetime.date.today().isoformat()
            write_json_atomic(out, result)
            print(f"  {step.measure}, {step.n:,} {step.unit}: {found['wall_s']:.2f} s", file=sys.stderr)


def work_off(left: list[tuple[int, Scenario]], result: dict[str, Any], out: Path, work: Path | None) -> list[str]:
    """Rounds of scenarios. Why some failed: those are not tried in later rounds."""
    failed: list[str] = []
    left = [(0, warm_up()), *left] if left else []
    while left:
        minutes = sum(scenario.seconds for _, scenario in left) / 60
        round_number, scenario = left.pop(0)
        print(f"round {round_number + 1}: {scenario.name} (in all about {minutes:.0f} min left)", file=sys.stderr)
        try:
            do(scenario, result, out, work)
        except subprocess.CalledProcessError as problem:
            failed.append(f"{scenario.name}: `{problem.cmd}` ended with {problem.returncode}: {problem.output.strip()}")
            left = [each for each in left if each[1] is not scenario]
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS / "growth.json")
    parser.add_argument("--quick", action="store_true", help="small sizes only")
    parser.add_argument(
        "--work", type=Path, help="folder for the outputs while they are measured; default: the system's"
    )
    parser.add_argument("--only", default="", help="scenarios whose names hold this text")
    options = parser.parse_args()
    every = scenarios(options.quick)
    if not any(options.only in each.name for each in every):
        sys.exit(f"--only {options.only!r} names no scenario of: {'; '.join(each.name for each in every)}")
    if options.work is not None and not options.work.is_dir():
        sys.exit(f"--work {options.work} is no folder; make it, or give another.")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    result = opened(options.out, options.quick, facts())
    free = shutil.disk_usage(options.work or tempfile.gettempdir()).free
    left = []
    for scenario in every:
        rounds = [r for r in range(scenario.rounds(options.quick)) if missing(result, scenario, r)]
        if rounds and scenario.disk_bytes * ROOM > free:
            why = f"takes {scenario.disk_bytes / 1e9:.0f} GB of disk, {free / 1e9:.0f} GB were free"
            result["left_out"].append({"scenario": scenario.name, "why": why})
            print(f"left out: {scenario.name}: {why}", file=sys.stderr)
        elif options.only in scenario.name:
            left += [(r, scenario) for r in rounds]
    try:
        failed = work_off(sorted(left, key=lambda each: each[0]), result, options.out, options.work)
    except KeyboardInterrupt:
        sys.exit(f"stopped; the same command goes on. So far: {options.out}")
    write_json_atomic(options.out, result)
    print(f"wrote {options.out}")
    if failed:
        sys.exit("FAILED, the same command tries again:\n" + "\n".join(failed))


if __name__ == "__main__":
    main()
