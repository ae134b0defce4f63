"""The leaderboard: ranks, files and links, what is replaced and what is not; submissions beside runs."""

from __future__ import annotations

import dataclasses
import html.parser
import json
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

import tsgen
from benchmark.cli import cli
from benchmark.paper.reference import reference_rows
from benchmark.predictions import Predictions
from benchmark.report.boards import boards_of
from benchmark.report.entries import read_entries
from benchmark.report.ranking import ranks_of
from benchmark.report.reference import drops
from benchmark.report.site import build_site, read_directory
from benchmark.statistics import compare_ratios
from benchmark.submission.record import EvaluatedOn, Model, Submission
from benchmark.submission.truth import AnswerKeys
from benchmark.submission.write import write_submission
from tsgen.common.errors import DataError, UsageError
from tsgen.domains import get_domain

samples = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("report_samples.py"))))

HOSTILE = "py:x:</script><img src=x onerror=alert(1)>../../../etc"
SPLITS = {"2dot": "val", "5dot": "test", "mnist": "test", "mnist-bg": "test"}


@pytest.fixture(scope="module")
def entries_dir(tmp_path_factory):
    root = tmp_path_factory.mktemp("entries")
    samples.write_sweep(root / "paper", hidden=(2, 48))
    samples.write_run(root / "hostile", samples.run_config(HOSTILE, 0))
    (root / ".git").mkdir()
    return root


@pytest.fixture(scope="module")
def site(entries_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp("sites") / "site"
    done = CliRunner().invoke(cli, ["leaderboard", "build", str(entries_dir), "--out", str(out)])
    assert done.exit_code == 0, done.exception
    return out


def build(*arguments, code=0):
    done = CliRunner().invoke(cli, ["leaderboard", "build", *map(str, arguments)])
    if code:
        assert isinstance(done.exception, (UsageError, DataError)) and done.exception.exit_code == code, done
        return str(done.exception)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def links(page):
    """(attribute, address) of everything a page refers to."""
    found = []

    class Reader(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.extend((name, value) for name, value in attrs if name in {"href", "src", "srcset", "data", "action"})

    Reader().feed(page)
    return found


def test_every_link_leads_to_a_file_of_the_site(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) == 1 + 9
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
        assert "<img" not in text
        for name, address in links(text):
            assert name == "href"
            if not address.startswith("#"):
                target = (page.parent / address).resolve()
                assert target.is_file() and target.is_relative_to(site.resolve()), address


def test_records_are_the_entries(site, entries_dir):
    entries = {entry.name: entry for entry in read_entries([entries_dir / "paper", entries_dir / "hostile"])}
    stored = {path.stem: json.loads(path.read_text()) for path in (site / "records").iterdir()}
    assert stored == {name: json.loads(json.dumps(entry.to_json())) for name, entry in entries.items()}


def test_rows_stand_in_the_order_of_rr_and_the_invalid_last(site):
    text = (site / "index.html").read_text(encoding="utf-8")
    board = text[text.index('id="board-0"') : text.index("</table>")]
    order = re.findall(r'href="entries/([^"]+)\.html"', board)
    records = {path.stem: json.loads(path.read_text())["scorecard"] for path in (site / "records").iterdir()}
    valid = [name for name in order if records[name]["source_above_chance"]]
    values = [records[name]["rows"][-1]["rr"]["value"] for name in valid]
    assert values == sorted(values, reverse=True)
    assert order == [*valid, "timesf-1-h2-2dot"]
    assert board.count("not valid") == 1


def test_ranks_agree_with_the_comparison_of_two(entries_dir):
    (board,) = boards_of(read_entries([entries_dir / "paper"]))
    ranks = ranks_of(board)
    entries = {entry.name: entry for entry in board.entries if entry.card.valid}
    assert {name for name, _ in ranks} == set(entries)
    for number, target in enumerate(board.targets, start=1):
        best = {name: ranks[name, target].best for name in entries}
        assert min(best.values()) == 1
        for one in entries.values():
            others = [other for other in entries.values() if other is not one]
            pairs = [
                compare_ratios(other.correct[0], other.correct[number], one.correct[0], one.correct[number])
                for other in others
            ]
            surely = sum(pair.verdict == "A better" and pair.p < 0.05 / 21 for pair in pairs)  # Bonferroni
            possibly = sum(pair.verdict == "A better" for pair in pairs)
            assert 1 + surely <= best[one.name] <= 1 + possibly
            assert ranks[one.name, target].best <= ranks[one.name, target].worst <= len(entries)


def test_a_rank_is_one_of_those_ranked(site):
    """Of nine entries one is not valid."""
    text = (site / "entries" / "3dcnn-h48-2dot.html").read_text(encoding="utf-8")
    assert re.findall(r"rank [\d–]+ of (\d+)", text) == ["8", "8", "8"]


def test_index_as_json(site, entries_dir, tmp_path):
    printed = json.loads(build(entries_dir, "--out", tmp_path / "other", "--json"))
    assert printed == json.loads((site / "leaderboard.json").read_text())
    (board,) = printed["boards"]
    assert board["source"] == "2dot" and len(board["entries"]) == 9
    assert {len(entry["ranks"]) for entry in board["entries"]} == {3}
    assert all((site / entry["record"]).is_file() for entry in board["entries"])


def test_equal_entries_give_equal_bytes(site, entries_dir, tmp_path):
    build(entries_dir, "--out", tmp_path / "again")
    files = {path.relative_to(site): path.read_bytes() for path in site.rglob("*") if path.is_file()}
    again = tmp_path / "again"
    assert files == {path.relative_to(again): path.read_bytes() for path in again.rglob("*") if path.is_file()}


def test_only_a_leaderboard_is_replaced_and_only_with_force(entries_dir, tmp_path):
    out = tmp_path / "site"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    assert "--force" in build(entries_dir, "--out", out, code=2)
    assert "holds no leaderboard" in build(entries_dir, "--out", out, "--force", code=2)
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]
    fresh = tmp_path / "fresh"
    build(entries_dir, "--out", fresh)
    (fresh / "stale.html").write_text("old")
    build(entries_dir, "--out", fresh, "--force")
    assert not (fresh / "stale.html").exists()


def test_a_failed_build_leaves_the_old_site(site, entries_dir, tmp_path):
    entries = tmp_path / "entries"
    run = samples.write_run(entries / "one", samples.run_config())
    out = tmp_path / "site"
    build(entries, "--out", out)
    before = (out / "index.html").read_bytes()
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**result, "environment": {"x": float("inf")}}))
    assert "no place" in build(entries, "--out", out, "--force", code=3)
    assert (out / "index.html").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["entries", "site"]


def test_where_a_site_may_lie(entries_dir, tmp_path):
    assert "in one another" in build(entries_dir, "--out", entries_dir / "site", code=2)
    assert "--force" in build(entries_dir, "--out", entries_dir.parent, code=2)
    assert "create it first" in build(entries_dir, "--out", tmp_path / "a" / "b", code=2)
    (tmp_path / "none").mkdir()
    assert "holds no directory" in build(tmp_path / "none", "--out", tmp_path / "site", code=2)


def test_the_paper_stands_beside_or_not(site, entries_dir, tmp_path):
    text = (site / "index.html").read_text(encoding="utf-8")
    section = text[text.index('id="paper"') :]
    rows = re.findall(r"<tr><th scope=\"row\".*?</tr>", section, re.DOTALL)
    assert len(rows) == len(reference_rows()) == 21
    assert "0.175*" in section and "Reported without intervals" in section
    build(entries_dir, "--out", tmp_path / "without", "--no-paper")
    assert 'id="paper"' not in (tmp_path / "without" / "index.html").read_text(encoding="utf-8")


def test_drops_of_the_paper_are_level_times_ratio():
    figure = drops(reference_rows())
    assert len(figure.drawings) == 8
    row = next(row for row in reference_rows() if (row.model, row.experiment) == ("ConvLSTM", "c"))
    assert f"ConvLSTM: 0.383, {0.383 * row.ratios['S1/V'].value:.3f}" in figure.drawings[2].description


def test_a_submission_is_an_entry(tmp_path, entries_dir):
    """Its labels come from clip files the scorer gives."""
    clips = tmp_path / "clips"
    clips.mkdir()
    rng, domains, predictions = np.random.default_rng(0), {}, []
    for domain, split in SPLITS.items():
        tsgen.make(domain, 50, clips / f"{domain}.h5", split=split, digits="embedded", threads=1, quiet=True)
        with tsgen.open_clips(clips / f"{domain}.h5") as file:
            domains[domain] = EvaluatedOn(file.split, len(file), file.content_hash, file.recipe)
            logits = 2 * np.eye(5)[file.labels] + rng.normal(size=(50, 5))
            facts = (file.class_names, file.content_hash, file.digits_source, file.digits_sha256)
            answers = (file.clip_id, file.labels, logits.astype(np.float32))
            predictions.append(Predictions(domain, split, 7, *facts, *answers))
    model = Model("<b>mine</b>", "other", 1234, False)
    one = Submission("Title", model, "in words", "the last", "2dot", tuple(SPLITS)[1:], (7,), domains, ("A. B.",))
    (tmp_path / "entries").mkdir()
    write_submission(tmp_path / "entries" / "sent", one, predictions)
    arguments = (tmp_path / "entries", "--out", tmp_path / "site", "--data", clips, "--allow-custom")
    build(*arguments)
    (record,) = [json.loads(path.read_text()) for path in (tmp_path / "site" / "records").iterdir()]
    assert (record["kind"], record["model"], record["parameters"]) == ("submission", "<b>mine</b>", 1234)
    assert record["scorecard"]["rows"][0]["hits_per_seed"] == [int(predictions[0].correct.sum())]
    page = next((tmp_path / "site" / "entries").iterdir()).read_text(encoding="utf-8")
    assert "&lt;b&gt;mine&lt;/b&gt;" in page and "<b>mine" not in page
    (tmp_path / "entries" / "sent" / "predictions" / "seed7" / "mnist.h5").unlink()
    assert "not admissible" in build(*arguments, "--force", code=3)


def test_order_and_number_of_targets_give_no_board_of_ones_own(tmp_path):
    """The same answers with the targets in another order, and with a target more that sorts before the others."""
    clips, rng, domains, predictions = tmp_path / "clips", np.random.default_rng(1), {}, []
    clips.mkdir()
    (tmp_path / "entries").mkdir()
    for domain, split in SPLITS.items():
        tsgen.make(domain, 20, clips / f"{domain}.h5", split=split, digits="embedded", threads=1, quiet=True)
    more = dataclasses.replace(get_domain("5dot"), name="a-dot")
    tsgen.make(more, 20, clips / "a-dot.h5", split="test", threads=1, quiet=True)
    for path in sorted(clips.iterdir()):
        with tsgen.open_clips(path) as file:
            domains[file.domain] = EvaluatedOn(file.split, len(file), file.content_hash, file.recipe)
            logits = (2 * np.eye(5)[file.labels] + rng.normal(size=(20, 5))).astype(np.float32)
            facts = (file.class_names, file.content_hash, file.digits_source, file.digits_sha256)
            predictions.append(Predictions(file.domain, file.split, 7, *facts, file.clip_id, file.labels, logits))
    orders = {"a": ("5dot", "mnist", "mnist-bg"), "b": ("mnist-bg", "5dot", "mnist")}
    for name, targets in (orders | {"c": ("a-dot", "mnist", "5dot", "mnist-bg")}).items():
        model = Model(f"model {name}", "other", 1, False)
        of_domains = {each: domains[each] for each in ("2dot", *targets)}
        one = Submission("Title", model, "in words", "the last", "2dot", targets, (7,), of_domains, ())
        write_submission(tmp_path / "entries" / name, one, [each for each in predictions if each.domain in of_domains])
    keys = AnswerKeys([clips], allow_custom=True)
    entries = read_directory(tmp_path / "entries", keys)
    (board,) = boards_of(entries)
    assert board.targets == orders["a"] and len(board.entries) == 3
    rows = {entry.origin: board.rows_of(entry) for entry in entries}
    assert rows["a"] == rows["b"] == rows["c"]
    assert [row.domain for row in entries[2].card.rows] == ["2dot", *orders["a"], "a-dot"]
    for entry in entries:
        for row, correct in zip(entry.card.rows, entry.correct, strict=True):
            assert tuple(correct.sum(axis=1)) == row.hits
    build_site(entries, tmp_path / "site", title="t", force=False, paper=False)
    assert "a-dot" not in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    pages = [path.name for path in (tmp_path / "site" / "entries").iterdir() if "a-dot" in path.read_text()]
    assert pages == ["model-c-2dot.html"]
    assert all("a-dot" not in (tmp_path / "site" / f"leaderboard.{kind}").read_text() for kind in ("md", "csv", "tex"))
