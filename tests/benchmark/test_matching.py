"""Matching of settings, and checkpoints kept at levels of accuracy by real runs."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import special

from benchmark.cli import cli
from benchmark.config import make_config
from benchmark.engine import member
from benchmark.engine.fit import StoppedError
from benchmark.engine.levels import level_name, parse_levels, reached_in
from benchmark.engine.selection import Epoch
from benchmark.engine.state import load_state
from benchmark.matching import match_accuracy, match_layers, match_parameters, mean_accuracy, parameters, read_settings
from benchmark.models import MODELS, PAPER_HIDDEN
from benchmark.probes.subject import open_subject
from benchmark.probes.temporal import title_of
from benchmark.run import run
from tsgen.common.errors import DataError, UsageError


@pytest.mark.parametrize("reference", ["3dcnn", "timesf-1"])
def test_no_other_h_is_nearer_by_parameters(reference):
    others = [name for name in MODELS if name != reference]
    found = match_parameters(reference, others, (4, 16))
    for group in found.groups:
        wanted = parameters(reference, group.reference.hidden)
        for match in group.matches:
            assert match.measure == match.setting.parameters / wanted
            step = 2 if match.setting.model.startswith("timesf") else 1
            for h in (match.setting.hidden - step, match.setting.hidden + step):
                if h >= step:
                    assert abs(np.log(parameters(match.setting.model, h) / wanted)) >= abs(np.log(match.measure))
            assert match.within == (1 / 1.1 <= match.measure <= 1.1)


def test_nearest_by_parameters_among_candidates_is_that_of_a_full_search():
    found = match_parameters("3dcnn", ["convlstm", "timesf-1"], PAPER_HIDDEN, PAPER_HIDDEN, 1.5)
    for group in found.groups:
        wanted = group.reference.parameters
        for match in group.matches:
            counts = {h: parameters(match.setting.model, h) for h in PAPER_HIDDEN}
            best = min(counts, key=lambda h: abs(np.log(counts[h] / wanted)))
            assert match.setting.hidden == best
    assert "h of 2, 4, 6" in found.rule
    assert "factor of 1.5" in found.rule


def test_timesformer_1_of_h_16_is_timesformer_8_of_h_2():
    match = match_parameters("timesf-1", ["timesf-8"], (16,)).groups[0].matches[0]
    assert (match.setting.hidden, match.measure, match.within) == (2, 1.0, True)


def test_by_layers_names_what_is_not_possible():
    found = match_layers("3dcnn", ["convlstm", "timesf-8"], (3, 4))
    assert [[match.setting.hidden for match in group.matches] for group in found.groups] == [[3], [4, 4]]
    assert found.left_out == ("timesf-8 h=3: not possible",)


def write_records(folder, rows, n=1000):
    """rows: (model, hidden, source, seed, hits)."""
    lines = []
    for model, hidden, source, seed, hits in rows:
        config = make_config("paper", model=model, hidden=hidden, source=source, seeds=(seed,))
        record = {
            "config": config.to_json(),
            "parameters": 100 * hidden,
            "domains": {source: {"hits": hits, "n": n}},
            "content_hashes": {f"{source}/val": "a" * 64},
        }
        lines.append(json.dumps(record) + "\n")
    (folder / "records.jsonl").write_text("".join(lines))
    return folder


ROWS = [
    ("3dcnn", 2, "2dot", 42, 600),
    ("3dcnn", 2, "2dot", 61, 620),
    ("3dcnn", 8, "2dot", 42, 800),
    ("convlstm", 4, "2dot", 42, 640),
    ("convlstm", 6, "2dot", 42, 590),
    ("convlstm", 48, "2dot", 42, 205),
    ("3dcnn", 2, "mnist-bg", 42, 500),
]


def test_by_accuracy_takes_the_nearest_v_and_leaves_guessing_out(tmp_path):
    settings, left_out = read_settings(write_records(tmp_path, ROWS))["2dot"]
    assert left_out == ["convlstm h=48: V = 0.205 is not above guessing by its interval"]
    found = match_accuracy(settings, "3dcnn", "2dot")
    first, second = found.groups
    assert (first.reference.hidden, first.reference.seeds, first.reference.V.value) == (2, (42, 61), 0.61)
    assert [(match.setting.hidden, match.within, match.overlap) for match in first.matches] == [(6, True, True)]
    assert first.matches[0].measure == pytest.approx(-0.02)
    assert [(match.setting.hidden, match.within, match.overlap) for match in second.matches] == [(4, False, False)]
    wide = match_accuracy(settings, "3dcnn", "2dot", tolerance=0.2).groups[1].matches[0]
    assert (wide.within, wide.overlap) == (True, False)


def test_mean_accuracy_covers_without_knowing_the_clips():
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(500):
        clip, seed = rng.normal(size=300), rng.normal(0, 0.2, (5, 1))
        latent = clip + rng.normal(size=(5, 300)) + seed
        hits = (special.ndtri(0.7) * np.sqrt(2.04) + latent > 0).sum(axis=1)
        V = mean_accuracy(hits.tolist(), 300)
        covered.append(V.low <= 0.7 <= V.high)
    assert 0.94 <= np.mean(covered) <= 0.995
    assert mean_accuracy([700], 1000).variance == "clips"


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda text: text.replace('"hits": 600', '"hits": 1600'), "line 1 is damaged: 1600 hits of 1000"),
        (lambda text: text.replace('"hits": 600', '"hits": "6"'), "line 1 is damaged"),
        (lambda text: text[:100], "line 1 is damaged"),
        (lambda text: text + "[]\n", "line 8 is damaged"),
        (lambda text: text.replace("a" * 64, "b" * 64, 1), "have other validation clips"),
    ],
)
def test_damaged_records_are_refused(tmp_path, damage, message):
    path = write_records(tmp_path, ROWS) / "records.jsonl"
    path.write_text(damage(path.read_text()))
    with pytest.raises(DataError, match=message):
        read_settings(tmp_path)


def test_records_that_are_no_text_are_refused(tmp_path):
    path = write_records(tmp_path, ROWS) / "records.jsonl"
    path.write_bytes(b"\xff" + path.read_bytes())
    with pytest.raises(DataError, match="byte 0 is not UTF-8"):
        read_settings(tmp_path)


def call(*arguments):
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def test_match_prints_the_rule_and_a_table(tmp_path):
    printed = call("match", "--by", "params", "--hidden", "16", "--models", "timesf-8").stdout
    assert "nearest number of trainable parameters" in printed
    assert printed.split("\n")[-2] == "!: the nearest there is, but not within the tolerance."
    assert {"24645", "20421", "0.829"} <= set(printed.split())
    write_records(tmp_path, ROWS)
    printed = call("match", "--by", "val-accuracy", "--runs", tmp_path, "--source", "2dot").stdout
    assert "matched within 0.05" in printed
    assert "left out: convlstm h=48" in printed
    both = json.loads(call("match", "--by", "val-accuracy", "--runs", tmp_path, "--json").stdout)
    assert [each["source"] for each in both] == ["2dot", "mnist-bg"]
    assert both[0]["groups"][0]["matches"][0]["intervals_overlap"] is True


@pytest.mark.parametrize(
    "options, message",
    [
        ("--by width", "unknown rule 'width'"),
        ("--by layers --tolerance 2", "--tolerance means nothing with --by layers"),
        ("--by params --runs x", "--runs means nothing with --by params"),
        ("--by params --tolerance 0.5", "tolerance 0.5 is not possible by params"),
        ("--by params --candidates 3 --models timesf-1 --hidden 2", "none of the candidates is possible for timesf-1"),
        ("--by params --reference 4dcnn", "unknown model '4dcnn'"),
        ("--by params --models timm:resnet18", "match it --by val-accuracy"),
        ("--by params --hidden 2,x", "not whole numbers"),
        ("--by val-accuracy", "give --runs DIR"),
        ("--by val-accuracy --runs no/such/place", "does not exist"),
        ("--by val-accuracy --runs RUNS --reference timesf-1", "unknown model of these runs 'timesf-1'"),
        ("--by val-accuracy --runs RUNS --source 5dot", "unknown source of these runs '5dot'"),
        ("--by val-accuracy --runs RUNS --tolerance nan", "tolerance nan is not possible"),
    ],
)
def test_match_refuses(tmp_path, options, message):
    write_records(tmp_path, ROWS)
    done = call("match", *options.replace("RUNS", str(tmp_path)).split())
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)


def test_a_level_is_reached_by_the_first_epoch_that_is_as_good():
    history = [Epoch(number, 1.0, 1.0, hits / 1000, 0.0) for number, hits in enumerate((200, 383, 300, 500), 1)]
    assert [reached_in(history, level) for level in (0.2, 0.383, 0.384, 0.51)] == [1, 2, 4, None]


@pytest.mark.parametrize("text", ["0", "-0.1", "1.01", "nan", "inf", "0.4,0.3", "0.3,0.30", "0.3,", "x"])
def test_levels_that_make_no_sense_are_refused(text, tmp_path):
    with pytest.raises(UsageError):
        parse_levels(text)
    done = call("run", "--levels", text, "--out", tmp_path / "new")
    assert isinstance(done.exception, UsageError)
    assert not (tmp_path / "new").exists()


SEEDS = (0, 61)


@pytest.fixture(scope="module")
def config(tiny):
    """Its seeds reach different accuracies in the course of three epochs."""
    return dataclasses.replace(tiny, seeds=SEEDS, n_train=32, n_val=40, batch_size=4, max_epochs=3, learning_rate=0.02)


@pytest.fixture(scope="module")
def do(config, data_dir):
    def do(out, levels=(), **options):
        where = {"digits": "embedded", "data_dir": data_dir, "device": "cpu", "threads": 1, "quiet": True}
        return run(options.pop("config", config), out, levels=levels, **where, **options)

    return do


@pytest.fixture(scope="module")
def plain(do, tmp_path_factory):
    return do(tmp_path_factory.mktemp("runs") / "plain")


@pytest.fixture(scope="module")
def curves(plain):
    """seed -> accuracies by epoch."""
    paths = {seed: plain.seed_path(seed, "metrics.jsonl") for seed in SEEDS}
    return {
        seed: [json.loads(line)["val_accuracy"] for line in path.read_text().splitlines()]
        for seed, path in paths.items()
    }


@pytest.fixture(scope="module")
def levels(curves):
    """Every accuracy that some epoch has, between two of them, and one nobody reaches."""
    found = sorted({value for values in curves.values() for value in values})
    return (*found, found[-1] + 0.01)


@pytest.fixture(scope="module")
def kept(do, levels, tmp_path_factory):
    return do(tmp_path_factory.mktemp("runs") / "kept", levels)


def level_files(directory):
    return {path.relative_to(directory.path): path.read_bytes() for path in directory.path.glob("seed*/level-*")}


def test_levels_are_kept_when_first_reached_and_change_nothing_else(plain, kept, curves, levels):
    files = level_files(kept)
    expected = set()
    for seed, values in curves.items():
        for level in levels:
            reached = [epoch for epoch, value in enumerate(values, 1) if value >= level]
            if not reached:
                continue
            expected.add(kept.seed_path(seed, level_name(level)).relative_to(kept.path))
            facts = load_state(kept.seed_path(seed, level_name(level)))[1]
            assert facts == {
                "model": "3dcnn",
                "hidden": 2,
                "seed": seed,
                "epoch": reached[0],
                "level": level,
                "val_accuracy": values[reached[0] - 1],
            }
    assert set(files) == expected
    assert len({load_state(kept.path / name)[1]["epoch"] for name in files}) > 1  # else the test says little
    for name in ("result.json", *(f"seed{seed}/checkpoint.safetensors" for seed in SEEDS)):
        assert (kept.path / name).read_bytes() == (plain.path / name).read_bytes()


def test_the_weights_of_a_level_have_its_accuracy(kept, levels, curves, data_dir):
    level = levels[1]
    best = open_subject(kept.path, data_dir=data_dir, device="cpu", threads=1)
    at_level = open_subject(kept.path, data_dir=data_dir, device="cpu", threads=1, level=level)
    clips = at_level.clips_of("2dot", lambda line: None)
    accuracies = (at_level.models(20).answers(clips) == clips.labels).mean(axis=1)
    assert accuracies.tolist() == [next(value for value in curves[seed] if value >= level) for seed in SEEDS]
    assert f"checkpoint: level {level:g}" in title_of(at_level)
    assert at_level.to_json()["checkpoints"] != best.to_json()["checkpoints"]


def test_level_nobody_or_not_everybody_reached(kept, levels, data_dir):
    where = {"data_dir": data_dir, "device": "cpu", "threads": 1}
    with pytest.raises(UsageError, match=f"seed 0 never reached the level {levels[-1]:g}"):
        open_subject(kept.path, level=levels[-1], **where)
    with pytest.raises(UsageError, match=r"level 0\.987: the run kept 0"):
        open_subject(kept.path, level=0.987, **where)


@pytest.mark.parametrize("epochs", [1, 4])
def test_an_interrupted_run_ends_with_the_same_levels(do, kept, levels, tmp_path, epochs):
    ends = iter(range(1, 100))
    with pytest.raises(StoppedError):
        do(tmp_path / "run", levels, stop=lambda: next(ends) == epochs)
    resumed = do(tmp_path / "run", levels, resume=True)
    assert level_files(resumed) == level_files(kept)


def test_a_kill_just_before_a_level_is_written_loses_nothing(do, kept, levels, tmp_path, monkeypatch):
    """A level after the state of its epoch would be lost: the epoch would not come again."""
    save_state = member.save_state

    def killed(path, *rest):
        if path.name == level_name(levels[1]):
            raise KeyboardInterrupt
        save_state(path, *rest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(member, "save_state", killed)
        do(tmp_path / "run", levels)
    assert level_files(do(tmp_path / "run", levels, resume=True)) == level_files(kept)


def test_models_that_train_together_keep_their_own_levels(do, curves, levels, tmp_path):
    packed = do(tmp_path / "run", levels, pack="2")
    for seed in SEEDS:
        metrics = packed.seed_path(seed, "metrics.jsonl").read_text().splitlines()
        values = [json.loads(line)["val_accuracy"] for line in metrics]
        for level in levels:
            path = packed.seed_path(seed, level_name(level))
            reached = [epoch for epoch, value in enumerate(values, 1) if value >= level]
            assert path.exists() == bool(reached)
            if reached:
                assert load_state(path)[1]["epoch"] == reached[0]


def test_levels_of_a_begun_run_cannot_change(do, config, kept, plain, levels, tmp_path):
    for directory, wanted, message in (
        (kept, (), "was begun with --levels .*, not no --levels"),
        (plain, levels, "was begun with no --levels, not --levels"),
        (kept, levels[:1], "was begun with --levels"),
    ):
        before = {path: path.stat().st_mtime_ns for path in directory.path.rglob("*")}
        with pytest.raises(UsageError, match=message):
            do(directory.path, wanted, resume=True)
        assert {path: path.stat().st_mtime_ns for path in directory.path.rglob("*")} == before
    one = dataclasses.replace(config, max_epochs=1, seeds=(0,))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps(one.to_json()))  # killed before it trained
    do(tmp_path / "run", levels, config=one, resume=True)
    assert json.loads((tmp_path / "run" / "levels.json").read_text()) == list(levels)
