"""The page on growth: its tables and figure are what the record gives, and the lines are those of the points."""

from __future__ import annotations

import copy
import importlib
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import nnls

ROOT = Path(__file__).parents[1]
PERF = ROOT / "perf"
FACTS = {"cpu": "one of these", "cores": 2}
NAMES = ("measure", "growth", "growth_model", "growth_figure", "growth_docs")


@pytest.fixture(scope="module")
def perf():
    """The scripts as modules, by name; perf/tsgen.py must not stand before the package."""
    before = list(sys.path)
    sys.path.append(str(PERF))
    try:
        modules = {name: importlib.import_module(name) for name in NAMES}
    finally:
        sys.path[:] = before
    yield modules
    for name in NAMES:
        del sys.modules[name]


@pytest.fixture(scope="module")
def record():
    return json.loads((PERF / "results" / "growth.json").read_text())


def test_the_page_is_what_the_record_gives(perf, record):
    page = (ROOT / "docs" / "growth.md").read_text()
    assert perf["growth_docs"].filled(page, record) == page, "run: python perf/growth_docs.py"


def test_the_figure_is_what_the_record_gives(perf, record):
    drawn = (ROOT / "docs" / "images" / "growth.svg").read_text()
    assert perf["growth_figure"].figure(record) == drawn, "run: python perf/growth_docs.py"


def test_another_record_gives_another_page(perf, record):
    page = (ROOT / "docs" / "growth.md").read_text()
    other = copy.deepcopy(record)
    for point in other["points"]:
        for run in point["runs"]:
            run["wall_s"] *= 1.5
    filled = perf["growth_docs"].filled(page, other)
    assert filled != page
    for name in perf["growth_docs"].BLOCKS:
        block = filled.partition(f"<!-- growth: {name} -->")[2].partition("<!-- end -->")[0]
        assert (block in page) == (name == "commands"), name


def test_a_page_without_a_block_is_refused(perf, record):
    with pytest.raises(ValueError, match="growth: fitted"):
        perf["growth_docs"].filled(
            "<!-- growth: measured -->\n\n<!-- end -->\n<!-- growth: commands -->\n\n<!-- end -->", record
        )


def test_a_line_is_found_again(perf):
    sizes = [10**3, 10**4, 10**5, 10**6]
    line = perf["growth_model"].fit(sizes, [[0.7 + 2e-5 * n] * 3 for n in sizes])
    assert line.start == pytest.approx(0.7) and line.per_unit == pytest.approx(2e-5)
    assert line.worst == pytest.approx(0, abs=1e-9) and line.interval(10**9) == pytest.approx((20000.7, 20000.7))


def test_intervals_hold_the_truth_when_repeats_are_noisy(perf):
    random, sizes, held = np.random.default_rng(5), [10**3, 10**4, 10**5, 10**6], 0
    for _ in range(20):
        runs = [list((0.7 + 2e-5 * n) * random.normal(1, 0.05, 5)) for n in sizes]
        low, high = perf["growth_model"].fit(sizes, runs).per_unit_interval()
        held += low <= 2e-5 <= high
    assert held >= 15  # of five repeats a bootstrap's interval is somewhat narrow


def test_what_is_no_line_has_a_large_residual(perf):
    sizes = [10**3, 10**4, 10**5]
    line = perf["growth_model"].fit(sizes, [[(n / 1000) ** 1.5] for n in sizes])
    assert abs(line.worst) > 0.3


@pytest.mark.parametrize("values", [[5.0, 4.0, 3.0], [1.0, 20.0, 300.0], [2.0, 3.0, 20.0]])
def test_neither_start_nor_slope_is_negative(perf, values):
    sizes = [10**3, 10**4, 10**5]
    line = perf["growth_model"].fit(sizes, [[value] for value in values])
    weighted = np.stack([np.ones(3), sizes], axis=1) / np.array(values)[:, None]
    assert (line.start, line.per_unit) == pytest.approx(tuple(nnls(weighted, np.ones(3))[0]))


def test_one_size_is_no_line(perf):
    with pytest.raises(ValueError, match="two sizes"):
        perf["growth_model"].fit([1000], [[1.0, 1.1]])


def test_nodes_obey_amdahl(perf):
    fit, sizes = perf["growth_model"].fit, [10**3, 10**6]
    make = fit(sizes, [[1 + 2e-4 * n] for n in sizes])
    merge = fit(sizes, [[0.5 + 5e-5 * n] for n in sizes])
    nodes = perf["growth_model"].Nodes(make, merge, per_slice=0.0)
    assert nodes.limit() == pytest.approx(4)
    assert nodes.seconds(10**9, 1) / nodes.seconds(10**9, 10**6) == pytest.approx(4, rel=1e-3)
    assert nodes.seconds(10**9, 4) == pytest.approx(nodes.slices_s(10**9, 4) + nodes.merge_s(10**9, 4))
    assert nodes.slices_s(10**9, 4) == pytest.approx(nodes.merge_s(10**9, 4), rel=1e-3)
    slow = perf["growth_model"].Nodes(make, merge, per_slice=10.0)
    best = slow.best(10**9)
    assert 1 < best < 2**16 and slow.seconds(10**9, best) < min(
        slow.seconds(10**9, best // 2), slow.seconds(10**9, 2 * best)
    )


@pytest.mark.parametrize(
    "seconds, shown", [(1.234, "1.23 s"), (600, "10 min"), (7200 * 2, "4 h"), (86_400 * 30, "30 days")]
)
def test_times_are_in_the_unit_that_reads_best(perf, seconds, shown):
    assert perf["growth_docs"].time(seconds) == shown


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="memory of a tree is read from /proc")
def test_a_point_counts_time_and_memory_of_the_whole_tree(tmp_path):
    """By a small process, as growth.py is one: the peak of a process begins with that of the one which started it."""
    inner = "import time; held = bytearray(80 * 2**20); held[::4096] = b'1' * len(held[::4096]); time.sleep(3)"
    outer = (
        f"import subprocess, sys; command = [sys.executable, '-c', {inner!r}]\n"
        "for child in [subprocess.Popen(command) for _ in '12']: child.wait()"
    )
    code = (
        "import sys; sys.path.append(sys.argv[1]); import growth, json, pathlib\n"
        f"step = growth.Step('two', 2, 'processes', ('python', '-c', {outer!r}))\n"
        "print(json.dumps(growth.measured(step, pathlib.Path(sys.argv[2]))))"
    )
    told = subprocess.run([sys.executable, "-c", code, PERF, tmp_path], capture_output=True, text=True, check=True)
    found = json.loads(told.stdout)
    assert found["wall_s"] > 3 and found["cpu_s"] > 0
    assert found["tree_mib"] > 160 > found["largest_mib"] > 80


def test_a_command_that_fails_says_why(perf, tmp_path):
    step = perf["growth"].Step("typo", 1, "clips", ("tsgen", "make", "--domain", "6dot", "--n", "1", "--out", "x.h5"))
    with pytest.raises(subprocess.CalledProcessError) as caught:
        perf["growth"].measured(step, tmp_path)
    assert caught.value.returncode == 2 and "Did you mean" in caught.value.output


def test_a_scenario_is_done_so_many_times_and_goes_on(perf, tmp_path):
    growth, out = perf["growth"], tmp_path / "growth.json"
    scenario = growth.units("serial", 10)
    result = growth.opened(out, quick=True, machine_facts=FACTS)
    growth.do(scenario, result, out, tmp_path)
    again = growth.opened(out, quick=True, machine_facts=FACTS)
    assert [len(point["runs"]) for point in again["points"]] == [1]
    assert not growth.missing(again, scenario, 0) and growth.missing(again, scenario, 1)
    assert list(tmp_path.iterdir()) == [out]


def test_records_of_two_kinds_are_not_mixed(perf, tmp_path):
    growth, out = perf["growth"], tmp_path / "growth.json"
    growth.do(growth.units("serial", 10), growth.opened(out, quick=True, machine_facts=FACTS), out, tmp_path)
    with pytest.raises(SystemExit, match="another --out"):
        growth.opened(out, quick=False, machine_facts=FACTS)


def test_scenarios_have_names_and_points_of_their_own(perf):
    for quick in (False, True):
        every = perf["growth"].scenarios(quick)
        points = [(step.measure, step.n) for each in every for step in each.steps if step.measure is not None]
        assert len(set(points)) == len(points) and len({each.name for each in every}) == len(every)


def test_ctrl_c_ends_the_command_that_is_measured(tmp_path):
    """The measured process has a session of its own, so it must be ended by hand."""
    mark = tmp_path / "mark"
    inner = "import os, pathlib, time; pathlib.Path('mark').write_text(str(os.getpid())); time.sleep(60)"
    code = (
        "import sys; sys.path.append(sys.argv[1]); import growth, pathlib\n"
        f"step = growth.Step('x', 1, 'x', ('python', '-c', {inner!r}))\n"
        "growth.measured(step, pathlib.Path(sys.argv[2]))"
    )
    child = subprocess.Popen([sys.executable, "-c", code, PERF, tmp_path], stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while not (mark.exists() and mark.read_text()):
        assert child.poll() is None and time.monotonic() < until, "the measured process has not begun"
        time.sleep(0.05)
    time.sleep(1)  # the mark may be there before Popen has returned
    child.send_signal(2)
    assert child.wait(60) != 0
    pid = mark.read_text()
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or " Z " in Path(f"/proc/{pid}/stat").read_text():
            return
        time.sleep(0.05)
    pytest.fail(f"{pid} goes on")
