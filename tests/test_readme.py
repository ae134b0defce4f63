"""What the README says is true: its commands run, its table is the one its record gives, its links lead somewhere."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
from pathlib import Path

import pytest

from benchmark.calibration import CalibrationRow, trends_of
from benchmark.calibration_table import markdown
from benchmark.results import RunDirectory
from benchmark.sweep.store import SweepDirectory
from benchmark.sweep.summary import record, render_summary, summarise
from benchmark.table import render

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCS = sorted((ROOT / "docs").glob("*.md"))
DEMO = ROOT / "docs" / "results" / "demo"
REFERENCE = SweepDirectory(ROOT / "benchmark" / "reference_results" / "ts-cpu")
AUDITS = ROOT / "docs" / "results" / "audit"
# What a test can afford: the same commands with less to do.
CHEAPER = {
    "rac-bench run --experiment": "--shrink 64 --epochs 3 --batch-size 4 --learning-rate 0.02 --level 0.05 --threads 1",
    "rac-bench run": "--epochs 1 --n-train 64 --n-val 40 --n-target 40 --digits embedded --threads 1",
    "rac-bench probe": "--digits embedded --threads 1",
    "rac-bench predict": "--digits embedded",
    "rac-bench validate": "--digits embedded --allow-custom",
    "rac-bench score my-submission": "--digits embedded --allow-custom",
    "d48dom build --threshold": "--quick",
    "d48dom mini": "--train 24 --test 8 --val 16 --size 64x48 --labels 0+0",
    "tsgen release --out": "--sizes 40,10,10",
    "rac-bench sweep": "--hidden 2 --models 3dcnn --sources 2dot --seeds 42 --epochs 1 --n-train 64 --n-val 40 "
    "--n-target 40 --digits embedded --workers 1",
}


def shell_commands(text: str) -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    return [
        line for block in blocks for line in block.splitlines() if line.startswith(("tsgen ", "rac-bench ", "d48dom "))
    ]


def test_commands_of_the_readme_run_in_order(run_cli):
    commands = shell_commands(README)
    assert len(commands) >= 8
    for command in commands:
        extra = next((options for start, options in CHEAPER.items() if command.startswith(start)), "")
        name, *arguments = shlex.split(f"{command} {extra}")
        result = run_cli(name, *arguments)
        assert result.returncode == 0, f"{command}\n{result.stderr}"


def test_the_demo_table_is_what_the_record_gives():
    shown = re.search(r"<!-- demo -->\n```\n(.*?)\n```\n<!-- /demo -->", README, flags=re.DOTALL)
    assert shown, "the README has a demo block"
    assert shown.group(1) == render(RunDirectory(DEMO).scorecard())


@pytest.mark.parametrize(
    "name, render", [("tsgen", "render"), ("train-cpu", "render_training"), ("d48dom", "render_domains")]
)
def test_the_performance_tables_are_what_their_results_files_give(name, render):
    specification = importlib.util.spec_from_file_location("measure", ROOT / "perf" / "measure.py")
    measure = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(measure)
    result = json.loads((ROOT / "perf" / "results" / f"{name}.json").read_text())
    assert getattr(measure, render)(result) in (ROOT / "docs" / "performance.md").read_text()


def test_the_reference_table_is_what_its_records_give():
    shown = re.search(r"<!-- reference -->\n```\n(.*?)\n```\n<!-- /reference -->", README, flags=re.DOTALL)
    assert shown, "the README has a block of first results"
    assert shown.group(1) == render_summary(summarise(REFERENCE))


def test_reference_records_are_those_of_the_runs():
    jobs = REFERENCE.begun_jobs()
    lines = [json.loads(line) for line in REFERENCE.records_path.read_text().splitlines()]
    assert lines == [record(REFERENCE, job) for job in jobs]
    assert {line["environment"]["determinism"].split(":")[0] for line in lines} == {"bitwise"}


def audit_table() -> str:
    """Accuracy of each measure by profile, from the committed output of ``tsgen audit --json``."""
    reports = {name: json.loads((AUDITS / f"2dot-{name}.json").read_text()) for name in ("paper", "strict", "order")}
    rows = {name: report["files"][0]["reach"]["rows"] for name, report in reports.items()}
    lines = ["| what is seen | " + " | ".join(rows) + " |", "|---|" + "---:|" * len(rows)]
    for measures in zip(*rows.values(), strict=True):
        cells = [f"{100 * m['accuracy']:.1f} % ({100 * m['low']:.0f}-{100 * m['high']:.0f})" for m in measures]
        lines.append(f"| {measures[0]['name']}: {measures[0]['says']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def test_the_audit_table_is_what_the_audits_gave():
    assert audit_table() in (ROOT / "docs" / "profiles.md").read_text()


def truth_table() -> str:
    """From the committed output of ``d48dom truth --json``, of a segmenter's instances and of the true ones."""
    of = {name: json.loads((ROOT / "docs" / "results" / "d48" / name).read_text()) for name in
          ("truth.json", "truth-floor.json")}  # fmt: skip
    rows = {name: {row["t"]: row for row in report["by_threshold"]} for name, report in of.items()}

    def told(share: list[float]) -> str:
        return f"{100 * share[0]:.1f} ({100 * share[1]:.1f}-{100 * share[2]:.1f})"

    lines = ["| t | missing from S1 | background in S1 | the same with true masks |", "|---:|---:|---:|---:|"]
    for t in (0.0, 0.2, 0.4, 0.6, 0.8):
        found, floor = rows["truth.json"][t], rows["truth-floor.json"][t]
        lines.append(
            f"| {t:g} | {told(found['S1 missing'])} | {told(found['S1 background'])} "
            f"| {told(floor['S1 missing'])}, {told(floor['S1 background'])} |"
        )
    fixed = of["truth.json"]["fixed"]
    names = ("S2 missing", "S2 background", "T leak", "T background lost", "T_union leak")
    lines += ["", "; ".join(f"{name} {told(fixed[name])}" for name in names) + "."]
    return "\n".join(lines)


def test_the_truth_table_is_what_was_measured():
    assert truth_table() in (ROOT / "docs" / "diving48_domains.md").read_text()


def test_the_segmenter_s_figures_are_what_was_measured():
    found = json.loads((ROOT / "docs" / "results" / "d48" / "evaluate.json").read_text())
    page = (ROOT / "docs" / "segmenter.md").read_text()
    assert f"mask IoU {found['matched_mask_iou']:.2f}, frame recall {found['frame_recall']:.2f}" in page


@pytest.mark.parametrize("page", [ROOT / "README.md", *DOCS], ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("name", ["shapes", "mini"])
def test_the_calibration_tables_are_what_their_records_give(name):
    record = json.loads((ROOT / "docs" / "results" / "calibration" / f"{name}.json").read_text())
    rows = [CalibrationRow.from_json(row) for row in record["rows"]]
    trends = trends_of(rows)
    assert [(one["verdict"], one["points"]) for one in record["trends"]] == [(t.verdict, t.points) for t in trends]
    assert markdown(rows, trends) in (ROOT / "docs" / "calibration.md").read_text()
