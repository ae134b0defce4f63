"""Reports, tables and figures: numbers are those of the scorecard, text stays text, nothing comes from a network."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner

from benchmark.cli import cli
from benchmark.report.boards import boards_of
from benchmark.report.drawing import nice_ticks
from benchmark.report.entries import read_entries
from benchmark.report.escaping import md_text, tex_text
from benchmark.report.export import CONVERTERS, find_converter, svg_size
from benchmark.report.figures import figures_of
from benchmark.report.markup import Markup, el, join
from benchmark.report.style import DASHES, MARKERS, SERIES_DARK, SERIES_LIGHT, styles_of
from benchmark.results import RunDirectory
from benchmark.sweep.store import SweepDirectory
from benchmark.sweep.summary import summarise
from tsgen.common.errors import DataError, UsageError

samples = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("report_samples.py"))))

HOSTILE = "py:a.b:</script><img src=x onerror=alert(1)>&\"'$^{}|*`=x"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A sweep of two sources, a run of a model from outside, and one with a hostile name."""
    root = tmp_path_factory.mktemp("report")
    samples.write_sweep(root / "paper", hidden=(2, 48), sources=("2dot", "mnist-bg"))
    samples.write_run(root / "outside", samples.run_config("torchvision:r3d_18", 0, seeds=(5,)), parameters=33_000_000)
    samples.write_run(root / "hostile", samples.run_config(HOSTILE, 0))
    return root


@pytest.fixture(scope="module")
def boards(place):
    return boards_of(read_entries([place / "paper", place / "outside", place / "hostile"]))


@pytest.fixture
def report(place):
    def call(*arguments, code=0):
        done = CliRunner().invoke(cli, ["report", *map(str, arguments)])
        if code:
            assert isinstance(done.exception, (UsageError, DataError)) and done.exception.exit_code == code, done
            return str(done.exception)
        assert done.exit_code == 0, (done.output, done.exception)
        return done.stdout

    return call


@pytest.fixture(scope="module")
def page(place, tmp_path_factory):
    """The text of a report."""
    out = tmp_path_factory.mktemp("pages") / "report.html"
    paths = [str(place / name) for name in ("paper", "outside", "hostile")]
    assert CliRunner().invoke(cli, ["report", *paths, "--out", str(out)]).exit_code == 0
    return out.read_text(encoding="utf-8")


def as_json(card):
    return json.loads(json.dumps(card.to_json()))


class Checker(html.parser.HTMLParser):
    """Elements that do not close in order, every attribute, and the text outside scripts and styles."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.problems, self.found, self.words = [], [], [], []
        self.feed(text)
        self.problems += [f"never closed: {name}" for name in self.open]

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"{tag} closes something else, line {self.getpos()}")

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.words.append(data)


def test_text_is_escaped_and_markup_is_not():
    assert el("p", "<b>&", title='"<') == '<p title="&quot;&lt;">&lt;b&gt;&amp;</p>'
    assert el("p", el("b", 1), None, Markup("<i></i>")) == "<p><b>1</b><i></i></p>"
    assert el("rect", x=1.0, y=2.345, hidden=True, role=None) == '<rect x="1" y="2.35" hidden="hidden"/>'
    assert join("<", Markup("<br/>")) == "&lt;<br/>"


def test_series_differ_in_two_ways_at_least():
    looks = [(i % len(SERIES_LIGHT), i % len(MARKERS), i % len(DASHES)) for i in range(24)]
    for i, one in enumerate(looks):
        for other in looks[:i]:
            assert sum(a != b for a, b in zip(one, other, strict=True)) >= 2


@pytest.mark.parametrize("colours, paper", [(SERIES_LIGHT, "#ffffff"), (SERIES_DARK, "#15181b")])
def test_series_stand_out_from_the_paper(colours, paper):
    def luminance(colour):
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    for colour in colours:
        high, low = sorted((luminance(colour), luminance(paper)), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 3, colour


@pytest.mark.parametrize("top, ticks", [(1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0.07, [0, 0.02, 0.04, 0.06]), (0, [0])])
def test_ticks(top, ticks):
    assert nice_ticks(top) == pytest.approx(ticks)


def test_entries_have_the_scorecards_of_the_commands(place, boards):
    assert [(board.source, len(board.entries)) for board in boards] == [("2dot", 10), ("mnist-bg", 8)]
    cards = {(g.model, g.hidden, g.source): g.card for g in summarise(SweepDirectory(place / "paper")).groups}
    entries = [entry for board in boards for entry in board.entries if entry.kind == "sweep"]
    assert {(e.model, e.hidden, e.source.domain): e.card for e in entries} == cards
    outside = next(e for board in boards for e in board.entries if e.origin == "outside")
    assert outside.card == RunDirectory(place / "outside").scorecard()
    assert outside.parameters == 33_000_000
    for entry in (*entries, outside):
        for row, correct in zip(entry.card.rows, entry.correct, strict=True):
            assert tuple(correct.sum(axis=1)) == row.hits


def test_other_clips_are_another_board(tmp_path):
    samples.write_run(tmp_path / "a", samples.run_config())
    samples.write_run(tmp_path / "b", samples.run_config(), clips="b")
    entries = read_entries([tmp_path / "a", tmp_path / "b"])
    assert len(boards_of(entries)) == 2
    assert [entry.name for entry in entries] == ["a-3dcnn-h8-2dot", "b-3dcnn-h8-2dot"]


def test_a_line_is_of_one_protocol_and_one_entry_a_size(tmp_path):
    slow = {"learning_rate": 1e-4}
    runs = {"a": (8, {}), "b": (48, {}), "c": (8, slow), "d": (48, slow), "e": (2, {}), "f": (2, {})}
    for name, (h, fields) in runs.items():
        samples.write_run(tmp_path / name, samples.run_config(hidden=h, **fields))
    entries = read_entries([tmp_path / name for name in runs])
    styles = styles_of(entries)
    lines = {}
    for entry in entries:
        lines.setdefault(styles[entry.name], []).append(entry.origin)
    assert sorted(lines.values()) == [["a", "b"], ["c", "d"], ["e"], ["f"]]
    (board,) = boards_of(entries)
    figure = next(each for each in figures_of(board) if each.name.endswith("accuracy-against-h"))
    texts = [text for _, text in figure.legend]
    assert sorted(texts) == [f"3D CNN ({origins})" for origins in ("a, b", "c, d", "e", "f")]


def test_words_make_no_link_and_no_argument():
    assert md_text("![x](y)") == r"\!\[x\]\(y)"
    assert [tex_text("[2pt]"), tex_text(" * a"), tex_text("a [b]")] == ["{[}2pt]", "{*} a", "a [b]"]


def test_page_is_whole_and_loads_nothing(page):
    checked = Checker(page)
    assert checked.problems == []
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", page)
    ids = [attrs["id"] for _, attrs in checked.found if "id" in attrs]
    assert len(ids) == len(set(ids))
    for tag, attrs in checked.found:
        assert not {"src", "srcset", "background", "onclick", "onload", "onerror"} & set(attrs), (tag, attrs)
        assert tag not in {"img", "iframe", "object", "embed", "link", "base"}
        if tag == "a":
            assert attrs["href"].removeprefix("#") in ids
        for name in (attrs.get("aria-labelledby") or "").split():
            assert name in ids
    policy = next(attrs["content"] for tag, attrs in checked.found if attrs.get("http-equiv"))
    assert "default-src 'none'" in policy and "unsafe-inline'; script" in policy


def test_a_hostile_name_stays_text(page):
    assert HOSTILE in "".join(Checker(page).words)
    assert "<img" not in page and page.count("</script>") == 2


def test_the_numbers_of_the_page_are_those_of_the_scorecards(page, boards):
    embedded = re.search(r'<script type="application/json" id="records">(.*?)</script>', page, re.DOTALL)
    records = json.loads(embedded[1])["entries"]
    entries = [entry for board in boards for entry in board.entries]
    assert [record["scorecard"] for record in records] == [as_json(entry.card) for entry in entries]
    rows = re.findall(r"<tr><th scope=\"row\".*?</tr>", page, re.DOTALL)
    assert len(rows) == len(entries)
    for row, entry in zip(rows, entries, strict=True):
        shown = re.findall(r"<td[^>]*>(?:<span[^>]*>)?(-(?!\d)|[+-]?\d\.\d{3})", row)
        (board,) = (board for board in boards if any(entry is each for each in board.entries))
        texts = [f"{entry.source.accuracy.value:.3f}"]
        for each in entry.targets:
            numbers = [each.accuracy.value, each.rr.value, each.rr_chance_corrected]
            texts += ["-" if value is None else f"{value:.3f}" for value in numbers]
            points = board.effective_points(entry, each.domain)
            texts += ["-" if points is None else f"{points.value:+.3f}"] if board.has_effective else []
        assert shown[-len(texts) :] == texts
        assert f"[{entry.source.accuracy.low:.3f}, {entry.source.accuracy.high:.3f}]" in row
        assert ("not valid" in row) == (not entry.card.valid)
    assert sum(not entry.card.valid for entry in entries) == 2  # TimeSformer-1 at h = 2, both sources


def test_provenance_is_shown_and_paths_are_not(page, place, boards):
    words = "".join(Checker(page).words)
    assert str(place) not in page
    for fact in ("bitwise: the same machine type", "2.15.0", "learning rate", "0.001", "patience"):
        assert fact in words
    for board in boards:
        for row in board.entries[0].card.rows:
            assert row.content_hash in words


def test_csv_holds_every_number_in_full(report, place, boards):
    lines = list(csv.DictReader(io.StringIO(report(place / "paper", place / "hostile", "--format", "csv"))))
    cards = {e.name: e.card for board in boards for e in board.entries}
    assert len(lines) == 4 * 17
    for line in lines:
        row = next(row for row in cards[line["entry"]].rows if row.domain == line["domain"])
        assert float(line["accuracy"]) == row.accuracy.value
        assert line["rr"] == ("" if row.rr is None else repr(row.rr.value))
        assert line["hits"] == " ".join(map(str, row.hits))
    assert {line["model"] for line in lines} >= {HOSTILE, "3dcnn"}


def test_csv_cells_are_no_formulas(tmp_path, report):
    samples.write_run(tmp_path / "=cmd", samples.run_config())
    line = next(csv.DictReader(io.StringIO(report(tmp_path / "=cmd", "--format", "csv"))))
    assert line["origin"] == "'=cmd"


def test_markdown_and_latex(report, place, boards):
    paths = [place / "paper", place / "hostile"]
    markdown = report(*paths)
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert len(lines) == 17 + 2 * 2
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {13}
    assert sum(line.endswith("| ! |") for line in lines) == 2
    entry = boards[0].entries[1]
    rr = entry.targets[0].rr
    assert f"{rr.value:.3f} [{rr.low:.3f}, {rr.high:.3f}]" in markdown
    latex = report(*paths, "--format", "tex")
    assert f"{rr.value:.3f} [{rr.low:.3f}, {rr.high:.3f}]" in latex
    body = [line for line in latex.splitlines() if line.endswith(r"\\")]
    assert len(body) == 17 + 2
    assert {len(re.findall(r"(?<!\\)&", line)) for line in body} == {11}
    assert latex.count("{") - latex.count(r"\{") == latex.count("}") - latex.count(r"\}")


def test_json_on_standard_output(report, place):
    records = json.loads(report(place / "outside", "--json"))["entries"]
    assert records[0]["scorecard"] == as_json(RunDirectory(place / "outside").scorecard())
    assert records[0]["environments"][0]["torch"] == "2.15.0"


def test_figures_are_svg_with_text_and_a_light_background(report, place, tmp_path, boards):
    report(place / "paper", place / "hostile", "--figures", tmp_path / "figures", "--format", "csv")
    paths = sorted((tmp_path / "figures").iterdir())
    assert len(paths) == 8
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert "var(--" not in text and not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
        root = ElementTree.fromstring(text)
        assert root.find(f"{SVG}rect").attrib["fill"] == "#ffffff"
        assert root.find(f"{SVG}title").text and root.find(f"{SVG}desc").text
        width, height = svg_size(path)
        for each in root.iter(f"{SVG}text"):
            assert 0 <= float(each.attrib["x"]) <= width and 0 <= float(each.attrib["y"]) <= height
    words = [each.text for each in ElementTree.fromstring(paths[3].read_text()).iter(f"{SVG}text")]
    assert {"5dot", "mnist", "mnist-bg", "rr", "hidden units a layer, h", "3D CNN"} <= set(words)


def test_curves_stand_where_the_numbers_say(boards):
    """A marker's height against the axis is the accuracy: read back from two ticks."""
    figure = next(each for each in figures_of(boards[0]) if each.name.endswith("accuracy-against-h"))
    root = ElementTree.fromstring(f"<g>{figure.drawings[0].body}</g>")
    ticks = {t.text: float(t.attrib["y"]) - 4 for t in root.iter("text") if re.fullmatch(r"[\d.]+", t.text or "")}
    zero, one = ticks["0"], ticks["1"]
    dots = [c for c in root.iter("circle") if c.find("title") is not None]
    read = [(zero - float(c.attrib["cy"])) / (zero - one) for c in dots]
    cnn = [entry.source.accuracy.value for entry in boards[0].entries if entry.model == "3dcnn"]
    assert read == pytest.approx(cnn, abs=1e-3)


def test_drops_are_means_over_the_sizes_that_all_share(boards):
    """Models from outside have no size and do not count for that."""
    drops = next(each for each in figures_of(boards[0]) if each.name.endswith("drops"))
    assert "the sizes that all share (h = 2, 48)" in drops.caption
    V = np.mean([entry.source.accuracy.value for entry in boards[0].entries if entry.model == "convlstm"])
    assert f"ConvLSTM from {V:.3f} to" in drops.drawings[0].description


def test_rr_that_means_nothing_is_not_drawn(boards):
    figures = {figure.name.partition("-")[2].partition("-")[2]: figure for figure in figures_of(boards[0])}
    assert "Left out: 1 whose V is not above guessing" in figures["rr-against-h"].caption
    forest = figures["forest"].drawings[0]
    assert "TimeSformer-1, h = 2: V at guessing" in forest.description
    tips = [t.text for t in ElementTree.fromstring(f"<g>{forest.body}</g>").iter("title")]
    assert len(tips) == 9 and not any(tip.startswith("TimeSformer-1, h = 2:") for tip in tips)


def test_png_needs_a_program(monkeypatch, report, place, tmp_path):
    monkeypatch.setenv("PATH", "")
    message = report(place / "outside", "--figures", tmp_path / "f", "--png", code=2)
    assert all(name in message for name in CONVERTERS) and not (tmp_path / "f").exists()


def test_png_has_three_pixels_a_unit(report, place, tmp_path):
    try:
        find_converter()
    except UsageError as problem:
        pytest.skip(str(problem))
    from PIL import Image

    report(place / "outside", "--figures", tmp_path, "--png")
    svg = next(tmp_path.glob("*-drops.svg"))
    with Image.open(svg.with_suffix(".png")) as image:
        assert image.size == tuple(3 * side for side in svg_size(svg))
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) > 20


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (["outside", "outside"], 2, "more than once"),
        (["nothing"], 2, "does not exist"),
        (["."], 3, "is not the directory of a submission or a sweep or a run"),
        (["outside", "--format", "docx"], 2, "Allowed: html, md, csv, tex, json"),
        (["outside", "--json", "--format", "csv"], 2, "give one"),
        (["outside", "--png"], 2, "--figures DIR"),
        (["outside", "--out", "outside/config.json"], 2, "--force"),
    ],
)
def test_errors(report, place, monkeypatch, arguments, code, words):
    monkeypatch.chdir(place)
    assert words in report(*arguments, code=code)


def test_damaged_or_unfinished_runs_are_refused(report, tmp_path):
    run = samples.write_run(tmp_path / "run", samples.run_config())
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**result, "parameters": "many"}))
    assert "damaged" in report(run, code=3)
    (run / "result.json").write_text(json.dumps({**result, "environment": {"x": float("nan")}}))
    assert "no place" in report(run, "--json", code=3)
    (run / "result.json").unlink()
    assert "--resume" in report(run, code=3)


def test_no_torch(place):
    code = (
        "import sys; from benchmark.cli import cli; cli.main(sys.argv[1:], standalone_mode=False); "
        "sys.exit('torch' in sys.modules)"
    )
    paths = [str(place / "outside"), "--format", "html"]
    done = subprocess.run([sys.executable, "-W", "error", "-c", code, "report", *paths], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("<!DOCTYPE html>"), done.stderr
