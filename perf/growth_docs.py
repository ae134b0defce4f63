"""The tables and the figure of docs/growth.md, from what perf/growth.py measured.

.venv/bin/python perf/growth_docs.py        # rewrites the blocks of docs/growth.md and docs/images/growth.svg
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from pathlib import Path

sys.path.append(sys.path.pop(0))  # tsgen.py beside this file has the name of the package: let that be found first

from growth_figure import figure
from growth_model import MOST_NODES, Nodes, Record, measures, nodes_of, peak_mib, points_of, size_line, time_line

from tsgen.common.files import write_text_atomic

ROOT = Path(__file__).parents[1]
PAGE, FIGURE = ROOT / "docs" / "growth.md", ROOT / "docs" / "images" / "growth.svg"
RESULTS = Path(__file__).parent / "results"
PREDICTED = [
    *((measure, n) for measure in ("tsgen make, 5dot", "tsgen make, mnist-bg") for n in (10**7, 10**8, 10**9)),
    ("tsgen info, 5dot", 10**9),
    ("d48dom build, six domains, 640x480", 18_404),
]
NODES = (1, 2, 4, 16, 64, 256, 1024)
CLIPS_ON_NODES = 10**9
FAMILY_RUNS = 10  # of each row of perf/results/train-cpu.json: 5 seeds, 2 sources


def time(seconds: float) -> str:
    for unit, size, until in (("s", 1, 120), ("min", 60, 7200), ("h", 3600, 172_800)):
        if abs(seconds) < until:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 86_400:,.3g} days" if seconds < 86_400_000 else f"{seconds / 86_400:,.0f} days"


def size(num_bytes: float) -> str:
    for unit, power in (("kB", 3), ("MB", 6), ("GB", 9)):
        if abs(num_bytes) < 10 ** (power + 3):
            return f"{num_bytes / 10**power:.3g} {unit}"
    return f"{num_bytes / 1e12:,.3g} TB"


def measured(record: Record) -> str:
    lines = [
        "| measured | n | wall, s: median (least-most) | runs | CPU, s | peak memory, MiB | written |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for measure in measures(record):
        for point in points_of(record, measure):
            walls = [run["wall_s"] for run in point["runs"]]
            wall = f"{statistics.median(walls):.2f} ({min(walls):.2f}-{max(walls):.2f})"
            cpu = statistics.median(run["cpu_s"] for run in point["runs"])
            written = "" if point["out_bytes"] is None else size(point["out_bytes"])
            counted = f"{point['n']:,} {point['unit']}"
            lines.append(
                f"| {measure} | {counted} | {wall} | {len(walls)} | {cpu:.2f} | {peak_mib(point):,.0f} | {written} |"
            )
    lines += ["", *(f"Left out: {each['scenario']}: {each['why']}." for each in record["left_out"])]
    facts = ", ".join(f"{name} {value}" for name, value in record["machine"].items())
    gap = [""] if record["left_out"] else []
    return "\n".join([*lines, *gap, f"`{record['command']}`; {record['date']}; {facts}."])


def commands(record: Record) -> str:
    lines = ["| measured | its command, at the largest n |", "|---|---|"]
    for measure in measures(record):
        text = points_of(record, measure)[-1]["command"]
        lines.append(f"| {measure} | `{_shortened(text)}` |")
    return "\n".join(lines)


def _shortened(command: str) -> str:
    """Without all the slices of a merge."""
    return re.sub(r"(ts-0+-of-\d+\.h5) .* --out", r"\1 ... --out", command)


def fitted(record: Record) -> str:
    lines = [
        "| fitted | start, s | each 1,000, s [95%] | farthest point | each writes | memory, largest n / smallest |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for measure in measures(record):
        points = points_of(record, measure)
        if len(points) < 2:
            continue
        line = time_line(record, measure)
        low, high = line.per_unit_interval()
        grows = points[0]["unit"] != "slices" and points[0]["out_bytes"] is not None
        written = size(size_line(record, measure).per_unit) if grows else ""
        lines.append(
            f"| {measure} | {line.start:.2f} | {1000 * line.per_unit:.3g} [{1000 * low:.3g}, {1000 * high:.3g}] "
            f"| {line.worst:+.0%} | {written} | {peak_mib(points[-1]) / peak_mib(points[0]):.2f}x |"
        )
    return "\n".join(lines)


def predicted(record: Record) -> str:
    lines = [
        "| predicted, never run | n | beyond the last point | time [95%] | written |",
        "|---|---:|---:|---:|---:|",
    ]
    for measure, n in PREDICTED:
        line = time_line(record, measure)
        low, high = line.interval(n)
        written = "" if points_of(record, measure)[0]["out_bytes"] is None else size(size_line(record, measure).at(n))
        times = f"{time(line.at(n))} [{time(low)}, {time(high)}]"
        lines.append(f"| {measure} | {n:,} | {n / line.last:,.0f}x | {times} | {written} |")
    return "\n".join([*lines, "", _runs(record)])


def _runs(record: Record) -> str:
    """Of the 400 runs of the paper, those whose training step was measured."""
    trained = json.loads((RESULTS / "train-cpu.json").read_text())["rows"]
    hours = sum(row["hours_of_its_runs"] for row in trained)
    longest = max(row["hours_of_its_runs"] for row in trained) / FAMILY_RUNS
    runs = FAMILY_RUNS * len(trained)
    beside = time_line(record, "rac-bench sweep").per_unit
    return (
        f"The runs of the paper whose training step was measured ({runs} of 400, `perf/train.py`): {hours:,.0f} h of "
        f"one core for all their epochs, and {time(runs * beside)} for all else; no number of cores makes that less "
        f"than the {longest:.1f} h of the longest."
    )


def nodes(record: Record) -> str:
    lines, said = [], []
    for domain in ("5dot", "mnist-bg"):
        model = nodes_of(record, domain)
        clips = CLIPS_ON_NODES
        lines += [
            f"| predicted, {domain}, {clips:,} clips: nodes | each makes its slice | merge | in all | faster by |",
            "|---:|---:|---:|---:|---:|",
        ]
        for count in NODES:
            merge = time(model.merge_s(clips, count)) if count > 1 else ""
            whole = model.seconds(clips, count)
            lines.append(
                f"| {count:,} | {time(model.slices_s(clips, count))} | {merge} | {time(whole)} "
                f"| {model.seconds(clips, 1) / whole:.1f}x |"
            )
        lines.append("")
        said.append(f"* {domain}: {_limit(model)}")
    return "\n".join([*lines, *said])


def _limit(model: Nodes) -> str:
    best, limit = model.best(CLIPS_ON_NODES), model.limit()
    if best == 1:
        return "merging a clip costs about as much as making it, or more: one node alone has one merged file first."
    said = (
        f"at most {limit:.1f} times faster; from {max(2, round(limit)):,} nodes on, merging takes longer than making."
    )
    return said if best == MOST_NODES else f"{said} Of the powers of two, {best:,} nodes are done first."


def engines(record: Record) -> str:
    lines = [
        "| engine | start, s | for each unit, ms [95%] | units of 1 s keep busy at most |",
        "|---|---:|---:|---:|",
    ]
    for name in ("serial", "processes", "ray"):
        line = time_line(record, f"engine {name}")
        low, high = line.per_unit_interval()
        busy = "1 worker" if name == "serial" else f"{1 / line.per_unit:,.0f} workers"
        lines.append(
            f"| {name} | {line.start:.2f} | {1000 * line.per_unit:.3g} [{1000 * low:.3g}, {1000 * high:.3g}] | {busy} |"
        )
    return "\n".join(lines)


BLOCKS = {
    "measured": measured,
    "commands": commands,
    "fitted": fitted,
    "predicted": predicted,
    "nodes": nodes,
    "engines": engines,
}
"""Name of a block in the page -> what it holds."""


def filled(page: str, record: Record) -> str:
    """The page with every block as the record gives it. ValueError where a block is not in the page."""
    for name, block in BLOCKS.items():
        pattern = re.compile(rf"(<!-- growth: {name} -->\n)(?:(?!<!--).*\n)*(<!-- end -->)")
        if len(pattern.findall(page)) != 1:
            raise ValueError(f"the page has no block <!-- growth: {name} --> ... <!-- end -->, or two")
        text = block(record)
        page = pattern.sub(lambda found, text=text: f"{found[1]}{text}\n{found[2]}", page)  # type: ignore[misc]
    return page


def main() -> None:
    record = json.loads((RESULTS / "growth.json").read_text())
    write_text_atomic(PAGE, filled(PAGE.read_text(), record))
    write_text_atomic(FIGURE, figure(record))
    print(f"wrote {PAGE} and {FIGURE}")


if __name__ == "__main__":
    main()
