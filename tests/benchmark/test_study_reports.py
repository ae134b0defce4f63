"""Experiments in reports and on leaderboards: the paper's tables and figures from drawn answers. No training."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import shutil
import statistics as plain
import subprocess
import sys

import pytest
from click.testing import CliRunner

from benchmark.cli import cli
from benchmark.experiments import DIVING48_EXPERIMENTS
from benchmark.paper.tables import printed_ratios, read_table
from benchmark.report.boards import boards_of, studies_of
from benchmark.report.entries import read_entries
from benchmark.report.figures import figures_of
from benchmark.report.single import report_page
from benchmark.report.style import styles_of
from benchmark.report.texts import interval_text, value_text
from benchmark.statistics import Estimate
from benchmark.statistics.rules import DROPPED, NOT_DROPPED, OPEN
from benchmark.study_record import FACTORS, PRINTED, SHOWN, StudyConfig, name_of, read_study
from benchmark.study_table import averages_of, best_of, comparable, mark_of, printed_text, render_study
from tests.benchmark.video_samples import write_study
from tsgen.common.errors import DataError, UsageError

SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Two experiments of one protocol, in the second of which one family did not reach the level."""
    place = tmp_path_factory.mktemp("studies")
    write_study(place / "d48-a", "a", seeds=SEEDS)
    write_study(place / "d48-c", "c", seeds=SEEDS, better=0.05, missing=("TimeSformer",))
    return place


@pytest.fixture(scope="module")
def studies(place):
    return [read_study(place / "d48-a"), read_study(place / "d48-c")]


@pytest.fixture(scope="module")
def board(place):
    (board,) = boards_of(read_entries([place / "d48-c", place / "d48-a"]))
    return board


@pytest.fixture(scope="module")
def page(board):
    return report_page("Title", [board])


def call(*arguments, code=0):
    done = CliRunner().invoke(cli, list(map(str, arguments)))
    if code:
        assert isinstance(done.exception, (UsageError, DataError)) and done.exception.exit_code == code, done
        return str(done.exception)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def row_with(row, *, T=0.2, verdict=DROPPED, valid=True):
    """A row whose T/V and T/S1 are ``T``."""
    estimate = Estimate(T, T / 2, 2 * T, "clips")
    card = dataclasses.replace(row.card, texture_verdict=verdict, valid=valid)
    return dataclasses.replace(row, card=card, ratios={**row.ratios, ("T", "V"): estimate, ("T", "S1"): estimate})


def test_the_families_at_the_level_are_the_entries(board):
    assert [entry.label.split(",")[0] for entry in board.entries] == [
        "a) 3D CNN", "c) 3D CNN", "a) ConvLSTM", "c) ConvLSTM", "a) TimeSformer",
    ]  # fmt: skip
    assert board.targets == ("S1", "S2", "T")
    for entry in board.entries:
        assert (entry.kind, entry.protocol["level"], entry.protocol["shrink"]) == ("study", 0.5, 32)
        assert entry.protocol["experiment"] == entry.origin
        assert entry.protocol["selection"] == "the first epoch with V of at least 0.5"
        assert "study" not in json.dumps(sorted(entry.to_json()))
    assert len({entry.name for entry in board.entries}) == 5


def test_every_number_of_the_page_is_of_the_predictions(page, studies):
    for study in studies:
        for row in study.reached:
            for pair in PRINTED:
                own = row.ratios[pair]
                shown = f"{value_text(own)}{mark_of(row, pair)}"
                shown = f"<b>{shown}</b>" if row.title in best_of(study.rows, pair) else shown
                assert f">{shown}<small>{interval_text(own)}</small>" in page
            for pair in FACTORS:
                assert f">{value_text(row.ratios[pair])}<small>{interval_text(row.ratios[pair])}</small>" in page
        for row in study.rows:
            assert f">{printed_text(row.paper.ratios['S1/V'].value)}<small>" in page
    assert "0.175*<small>" in page, "the asterisk of Table 4"
    assert "not reached, best 0.400" in page
    assert page.count("Here: 200 and 150 clips, which are other data.") == 2


def test_names_lead_to_records(page):
    section = page[page.index('id="experiments"') : page.index('id="board-0"')]
    links = re.findall(r'href="#([^"]+)"', section)
    assert len(links) == 5 and all(f'id="{link}"' in page for link in links)
    assert '<a href="#experiments">Experiments on videos</a>' in page


def test_values_print_as_in_the_paper():
    for row in printed_ratios():
        assert all(printed_text(float(row.value(name_of(pair)))) == row.digits(name_of(pair)) for pair in PRINTED)


@pytest.mark.parametrize(
    "verdicts, marks, best",
    [
        ((DROPPED, DROPPED, DROPPED), ("", "", ""), {"ConvLSTM"}),
        ((DROPPED, NOT_DROPPED, OPEN), ("", "*", "*?"), {"3D CNN"}),
        ((OPEN, NOT_DROPPED, None), ("*?", "*", "*?"), set()),
    ],
)
def test_bold_and_asterisks_by_interval(studies, verdicts, marks, best):
    given = zip(studies[0].rows, (0.3, 0.1, 0.2), verdicts, strict=True)
    rows = [row_with(row, T=T, verdict=verdict) for row, T, verdict in given]
    assert tuple(mark_of(row, ("T", "V")) for row in rows) == marks
    assert best_of(rows, ("T", "V")) == best
    assert best_of(rows, ("T", "S1")) == {"ConvLSTM"}, "T/S1 itself is never marked"
    assert mark_of(rows[1], ("T", "S1")) == ""


def test_bold_needs_two_and_a_valid_source(studies):
    first, second, third = studies[0].rows
    assert best_of([row_with(first), row_with(second, T=0.1, valid=False)], ("T", "V")) == frozenset()
    assert best_of([row_with(first), row_with(second), row_with(third, T=0.3)], ("T", "V")) == {"3D CNN", "ConvLSTM"}
    assert best_of(studies[0].rows, ("C", "O")) == frozenset()
    assert best_of(studies[0].rows, ("S1", "V")) == {"3D CNN", "ConvLSTM", "TimeSformer"}


def test_table_1(studies):
    averages = {each.title: each for each in averages_of(studies)}
    assert {title: each.experiments for title, each in averages.items()} == {
        "3D CNN": "ac", "ConvLSTM": "ac", "TimeSformer": "a",
    }  # fmt: skip
    one = averages["ConvLSTM"]
    values = [study.rows[1].ratios["T", "V"].value for study in studies]
    assert one.mean["T", "V"] == pytest.approx(plain.mean(values))
    assert one.deviation["T", "V"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5), "ddof = 1"
    assert averages["TimeSformer"].deviation["T", "V"] is None and "±" not in averages["TimeSformer"].text(("T", "V"))
    assert one.paper["T/V"] == "0.185 ± 0.042"
    assert averages_of(studies[:1]) == []


def test_the_papers_table_1_comes_of_its_rows(studies):
    """Experiments with the printed ratios in the place of own ones."""
    invented = []
    for letter in DIVING48_EXPERIMENTS:
        of = {row.model: row for row in printed_ratios() if row.experiment == letter}
        rows = []
        for row in studies[0].rows:
            if row.title in of:
                values = {pair: float(of[row.title].value(name_of(pair))) for pair in PRINTED}
                ratios = {pair: Estimate(value, 0, 1, "clips") for pair, value in values.items()}
                rows.append(dataclasses.replace(row, ratios=ratios))
        invented.append(dataclasses.replace(studies[0], config=StudyConfig(f"d48-{letter}"), rows=tuple(rows)))
    printed = {row["model"]: row for row in read_table("main1").records()}
    for each in averages_of(invented):
        for pair in PRINTED:
            mean, deviation = map(float, printed[each.title][name_of(pair)].split(" ± "))
            assert each.mean[pair] == pytest.approx(mean, abs=0.006)
            assert each.deviation[pair] == pytest.approx(deviation, abs=0.006)


def test_only_experiments_of_one_kind_are_averaged(studies):
    a, c = studies
    names = [[study.config.letter for study in group] for group in comparable([c, a, dataclasses.replace(c)])]
    assert names == [["a", "c"], ["c"]]
    for other in (
        dataclasses.replace(c, data={"train": "f" * 64}),
        dataclasses.replace(c, overrides={"seeds": [1]}),
        dataclasses.replace(c, config=dataclasses.replace(c.config, shrink=16)),
    ):
        assert [len(group) for group in comparable([a, other])] == [1, 1]


def test_figures_5_and_6_have_a_panel_an_experiment(board, studies):
    figures = {figure.name.rsplit("-", 1)[1]: figure for figure in figures_of(board)}
    drops, controls = figures["drops"], figures["controls"]
    for figure in (drops, controls):
        assert [each.title for each in figure.drawings] == ["a) layer structure, 50 %", "c) layer structure, 50 %"]
        assert [name for _, name in figure.legend] == ["3D CNN", "ConvLSTM", "TimeSformer"]
        assert [style for style, _ in figure.legend] == [0, 1, 2]
    assert re.findall(r">(Bv\.|S1|S2|T)</text>", drops.drawings[0].body) == ["Bv.", "S1", "S2", "T"]
    assert re.findall(r">(Bv\.|O|C|T_union|B)</text>", controls.drawings[0].body) == ["Bv.", "O", "C", "T_union", "B"]
    for study, drawing in zip(studies, drops.drawings, strict=True):
        for row in study.reached:
            accuracy = {each.domain: each.accuracy for each in row.card.rows}
            assert f"{row.title}, T: {accuracy['T'].value:.3f} {interval_text(accuracy['T'])}" in drawing.body
    assert "TimeSformer" not in drops.drawings[1].description
    assert re.findall(r">([ac]\) [^<·]+)</text>", figures["forest"].drawings[0].body) == [
        "a) 3D CNN", "c) 3D CNN", "a) ConvLSTM", "c) ConvLSTM", "a) TimeSformer",
    ]  # fmt: skip


def test_a_run_beside_an_experiment_has_a_line_of_its_own(place):
    whole = place / "d48-a" / "3dcnn-4l"
    (board,) = boards_of(read_entries([place / "d48-a", whole]))
    styles = styles_of(board.entries)
    assert len(set(styles.values())) == 4
    drops = figures_of(board)[0]
    assert [each.title for each in drops.drawings] == ["Accuracy drops", "a) layer structure, 50 %"]


def test_two_experiments_of_one_letter(place, tmp_path):
    other = write_study(tmp_path / "again", "a", seeds=(7, 8, 9))
    (board,) = boards_of(read_entries([place / "d48-a", other]))
    titles = [each.title for each in figures_of(board)[0].drawings]
    assert titles == ["a) layer structure, 50 % (again)", "a) layer structure, 50 % (d48-a)"]
    assert len(studies_of([board])) == 2 and len(board.entries) == 6


def test_a_folder_with_some_domains_only(tmp_path):
    few = write_study(tmp_path / "few", "a", targets=("O", "S1", "T"))
    study = read_study(few)
    known = {pair for pair, one in study.rows[0].ratios.items() if one is not None}
    assert known == {("S1", "V"), ("T", "V"), ("T", "S1"), ("O", "V")} and set(study.rows[0].ratios) == set(SHOWN)
    lines = render_study(study.config, study.rows).splitlines()
    assert re.search(r"^3D CNN .* -  .*\]$", next(line for line in lines if line.startswith("3D CNN")))
    text = call("report", few)
    assert re.search(r"\| 3D CNN \|.* \| - \| ", text)
    assert call("report", few, "--format", "tex") and call("report", few, "--format", "json")
    (board,) = boards_of(read_entries([few]))
    assert board.targets == ("S1", "T", "O")
    assert len(figures_of(board)) == 2, "O stands with the targets: no figure of controls"
    assert report_page("Title", [board])
    assert averages_of([study, dataclasses.replace(study)])[0].text(("S2", "V")) == "-"


def test_markdown_and_latex(place):
    text = call("report", place / "d48-a", place / "d48-c")
    heads = re.findall(r"^### (.*)$", text, flags=re.MULTILINE)
    assert [head.split(":")[0] for head in heads] == [
        "Trained on V", "Average of the experiments", "Experiment a", "Experiment a", "Experiment c", "Experiment c",
    ]  # fmt: skip
    assert r"| paper |  |  | 0.383 [0.358, 0.408] | 0.155 [0.129, 0.187]" in text and r" 0.175\* [" in text
    assert "| TimeSformer | 4 | 1000 | - (best 0.400) | - | - | - | - |" in text
    assert re.search(r"\| ConvLSTM \|.*\*\*0\.\d{3}\*\* \[", text)
    tex = call("report", place / "d48-a", place / "d48-c", "--format", "tex")
    tables = re.findall(r"\\begin\{tabular\}\{@\{\}(l+r+c?)@\{\}\}(.*?)\\end", tex, flags=re.DOTALL)
    assert len(tables) == 6
    for columns, body in tables:
        lines = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert all(len(re.split(r"(?<!\\)&", line)) == len(columns) for line in lines)
    assert r"\textbf{0." in tex and r"T/S1 $\downarrow$" in tex and r"$\pm$" in tex


def test_csv_and_json(place, studies):
    lines = list(csv.DictReader(io.StringIO(call("report", place / "d48-a", "--format", "csv"))))
    ratios = {(line["entry"], line["domain"]): line for line in lines if line["role"] == "ratio"}
    assert len(ratios) == 3 * len(SHOWN) and {line["experiment"] for line in lines} == {"d48-a"}
    row = studies[0].rows[0]
    line = ratios["a-3dcnn-4l-h4-V", "T/S1"]
    assert float(line["rr"]) == row.ratios["T", "S1"].value and float(line["rr_low"]) == row.ratios["T", "S1"].low
    assert float(line["paper"]) == 1.01 and float(line["paper_high"]) == row.paper.ratios["T/S1"].high
    assert ratios["a-3dcnn-4l-h4-V", "C/O"]["paper"] == ""
    found = json.loads(call("report", place / "d48-a", place / "d48-c", "--json"))
    assert [study["name"] for study in found["studies"]] == ["d48-a", "d48-c"]
    stored = json.loads((place / "d48-a" / "result.json").read_text())
    assert {name: value for name, value in found["studies"][0].items() if name != "name"} == stored
    assert [each["family"] for each in found["averages"][0]["families"]] == ["3D CNN", "ConvLSTM", "TimeSformer"]


def test_a_leaderboard_of_experiments(place, tmp_path):
    call("leaderboard", "build", place, "--out", tmp_path / "one")
    index = (tmp_path / "one" / "index.html").read_text()
    links = re.findall(r'href="(entries/[^"]+)"', index)
    assert len(links) == 2 * 5 and all((tmp_path / "one" / link).is_file() for link in links)
    assert index.index('id="board-0"') < index.index('id="experiments"') < index.index('id="paper"')
    assert [each["name"] for each in json.loads((tmp_path / "one" / "leaderboard.json").read_text())["studies"]] == [
        "d48-a", "d48-c",
    ]  # fmt: skip


def test_experiments_need_no_torch(place):
    code = "import sys; from benchmark.cli import cli; cli(sys.argv[1:], standalone_mode=False)"
    code += "; assert not {'torch', 'h5py.torch'} & set(sys.modules)"
    arguments = ["report", str(place / "d48-a"), "--format", "json"]
    assert subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True).returncode == 0


def unfinished(path):
    (path / "result.json").unlink()


def without_level(path):
    shutil.rmtree(path / "convlstm-4l-small" / "level-0.5")


def without_run(path):
    shutil.rmtree(path / "3dcnn-4l")


def asked(**changes):
    def change(path):
        value = json.loads((path / "experiment.json").read_text())
        (path / "experiment.json").write_text(json.dumps({**value, **changes}))

    return change


@pytest.mark.parametrize(
    "damage, words",
    [
        (unfinished, "is not finished: it has no result.json; continue it with rac-bench run --experiment d48-a"),
        (without_level, "level-0.5 is missing, but ConvLSTM reached the level"),
        (without_run, "holds no finished run of 3dcnn-4l for 3D CNN"),
        (asked(experiment="d48-z"), "experiment.json is damaged"),
        (asked(experiment=["d48-a"]), "experiment.json is damaged"),
        (asked(level="../.."), "experiment.json is damaged"),
        (asked(level=float("nan")), "experiment.json is damaged"),
        (asked(overrides=3), "experiment.json is damaged"),
        (lambda path: (path / "experiment.json").write_text("[]"), "experiment.json is damaged"),
        (lambda path: (path / "result.json").write_text('{"schema_version": 1}'), "result.json is damaged"),
        (lambda path: (path / "result.json").write_text('{"schema_version": 2}'), "not a result of schema version 1"),
    ],
)
def test_damaged_experiments_are_refused(place, tmp_path, damage, words):
    path = tmp_path / "broken"
    shutil.copytree(place / "d48-a", path)
    damage(path)
    assert words in call("report", path, code=3)


def test_no_family_at_the_level(tmp_path):
    path = write_study(tmp_path / "d48-g", "g", missing=("3D CNN", "ConvLSTM"))
    assert "no family reached V = 50 % (best: 3D CNN 0.400, ConvLSTM 0.400)" in call("report", path, code=3)
