"""Controls and curves on models made by hand, of which is known what they use; the run around them is a real one."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy import special

import tsgen
from benchmark.cli import cli
from benchmark.config import make_config
from benchmark.data import plan_data
from benchmark.predictions import predictions_path, read_predictions
from benchmark.probes.controls import FROZEN, PROBES, paired_drop, uses_order
from benchmark.probes.dose import DIALS, make_clips, parse_values, probe_dose
from benchmark.probes.subject import open_subject
from benchmark.probes.temporal import probe_temporal
from benchmark.run import run
from benchmark.statistics import Estimate
from tsgen.common.errors import DataError, UsageError

SEEDS = (0, 61)
HAND_MADE = '''
"""Models that know the answer from places of the dot, fitted in closed form. Training leaves them alone at rate 0."""
import torch
from torch import nn
import tsgen

def places(clips):
    ink = clips[:, :, 0] + 1e-6
    line = torch.arange(64, dtype=clips.dtype)
    x, y = (ink.sum(axis) @ line / ink.sum((2, 3)) for axis in (2, 3))
    return torch.stack([x, y], dim=-1)

def in_order(p):
    return torch.cat([(p[:, k:] - p[:, :-k]).norm(dim=2).sort(1).values[:, ::3] for k in (1, 3, 5, 9)], 1)

def without_order(p):
    p = p - (p.amax(1, keepdim=True) + p.amin(1, keepdim=True)) / 2
    return torch.cat([p.norm(dim=2).sort(1).values, p.sort(1).values.flatten(1)], 1)

def last(p):
    off = (p[:, -1] - 32).abs()
    return torch.cat([off, off.amax(1, keepdim=True), off.amin(1, keepdim=True), (off[:, :1] - off[:, 1:]).abs()], 1)

class Model(nn.Module):
    def __init__(self, features, num_classes, least=0.0):
        super().__init__()
        self.features, self.least = features, least
        clips, labels, _ = zip(*tsgen.TemporalShapes("2dot", 400, dtype=torch.float32).__getitems__(range(400)))
        x = self.design(torch.stack(clips))
        self.weight = nn.Parameter(torch.linalg.lstsq(x, torch.eye(num_classes)[list(labels)], driver="gelsd").solution)

    def design(self, clips):
        f = self.features(places(clips)) / 20
        return torch.cat([f, f * f, torch.ones(len(f), 1)], 1)

    def forward(self, clips):
        logits = self.design(clips) @ self.weight
        seen = (clips.amax((1, 2, 3, 4)) > self.least)[:, None]
        return torch.where(seen, logits, torch.eye(logits.shape[1])[0])  # in the dark: class 0

def ordered(num_classes): return Model(in_order, num_classes)
def unordered(num_classes): return Model(without_order, num_classes)
def static(num_classes): return Model(last, num_classes)
def dimmed(num_classes): return Model(in_order, num_classes, least=0.35)
'''


@pytest.fixture(scope="module")
def runs(tmp_path_factory, data_dir):
    """name of a factory -> its finished run."""
    folder = tmp_path_factory.mktemp("hand-made")
    (folder / "hand_made.py").write_text(HAND_MADE)
    sys.path.insert(0, str(folder))
    made = {}

    def of(name):
        if name not in made:
            small = {"n_train": 64, "n_val": 200, "n_target": 150, "max_epochs": 1, "learning_rate": 0.0}
            config = make_config("quick", model=f"py:hand_made:{name}", seeds=SEEDS, **small)
            made[name] = folder / name
            run(config, made[name], digits="embedded", data_dir=data_dir, device="cpu", threads=1, quiet=True)
        return made[name]

    yield of
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def subjects(runs, data_dir):
    return lambda name: open_subject(runs(name), data_dir=data_dir, device="cpu", threads=1)


CLIPS = np.random.default_rng(0).integers(0, 256, (6, 20, 8, 8), dtype=np.uint8)
IDS = np.array([5, 0, 3, 8, 2, 1])


@pytest.mark.parametrize("name", PROBES)
def test_a_control_keeps_shape_type_and_its_input(name):
    before = CLIPS.copy()
    out = PROBES[name].apply(CLIPS, IDS)
    assert (out.shape, out.dtype) == (CLIPS.shape, CLIPS.dtype)
    assert np.array_equal(CLIPS, before)


def test_what_the_controls_leave():
    of = {name: probe.apply(CLIPS, IDS) for name, probe in PROBES.items()}
    assert np.array_equal(of["intact"], CLIPS)
    assert np.array_equal(np.sort(of["shuffled"], axis=1), np.sort(CLIPS, axis=1))
    assert np.array_equal(of["reversed"][:, 0], CLIPS[:, 19])
    for name, frame in (("frozen-first", 0), ("frozen-middle", 10), ("frozen-last", 19)):
        assert (of[name] == CLIPS[:, frame : frame + 1]).all()
    assert np.array_equal(of["single-frame"][:, 10], CLIPS[:, 10])
    assert not np.delete(of["single-frame"], 10, axis=1).any()
    assert (of["time-max"] == CLIPS.max(axis=1, keepdims=True)).all()
    assert (of["time-mean"] == np.floor(CLIPS.mean(axis=1, keepdims=True) + 0.5)).all()


def test_the_docs_name_every_control():
    text = (Path(__file__).parents[2] / "docs" / "probes.md").read_text()
    rows = text.partition("controls: begin")[2].partition("controls: end")[0].splitlines()[4:-2]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [(row[0].strip("`"), row[2]) for row in cells] == [(name, probe.keeps) for name, probe in PROBES.items()]


def test_frame_order_is_forgotten_by_the_projections_and_undone_by_a_second_reversal():
    again = {name: PROBES[name].apply for name in PROBES}
    mixed = again["shuffled"](CLIPS, IDS)
    for name in ("time-max", "time-mean"):
        assert np.array_equal(again[name](mixed, IDS), again[name](CLIPS, IDS))
    assert np.array_equal(again["reversed"](again["reversed"](CLIPS, IDS), IDS), CLIPS)


def test_the_order_of_a_shuffled_clip_follows_from_its_id():
    whole = PROBES["shuffled"].apply(CLIPS, IDS)
    assert np.array_equal(PROBES["shuffled"].apply(CLIPS[2:4], IDS[2:4]), whole[2:4])
    same = np.repeat(CLIPS[:1], 200, axis=0)
    first = PROBES["shuffled"].apply(same, np.arange(200))
    assert len(np.unique(first.reshape(200, -1), axis=0)) == 200
    frames = np.broadcast_to(np.arange(20, dtype=np.uint8)[None, :, None, None], (4000, 20, 1, 1))
    at_start = np.bincount(PROBES["shuffled"].apply(frames, np.arange(4000))[:, 0, 0, 0], minlength=20)
    assert ((at_start - 200) ** 2 / 200).sum() < 44  # chi-squared with 19 degrees of freedom, p = 0.001


def test_which_models_use_order_is_found(subjects):
    for name, expected in (("ordered", "yes"), ("unordered", "no"), ("static", "no")):
        domain = probe_temporal(subjects(name), ["2dot"]).domains[0]
        assert domain.above_guessing, name
        assert (domain.uses_order, domain.domain, domain.split) == (expected, "2dot", "val"), domain.reason
        rows = {row.probe: row for row in domain.rows}
        if name == "ordered":
            assert rows["shuffled"].drop.low > 0.2
            assert rows["reversed"].changed == 0  # sorted distances do not know the direction
            assert rows["frozen-middle"].accuracy.value < 0.35
        if name == "unordered":
            assert rows["shuffled"].changed == rows["reversed"].changed == 0
            assert rows["shuffled"].drop.value == 0 < rows["shuffled"].drop.high < 0.05
            assert rows["frozen-middle"].changed > 0.1
        if name == "static":
            assert rows["frozen-last"].changed == 0
            assert rows["shuffled"].drop.low > 0  # which alone would look like use of order
            assert "frozen-last clips cost less" in domain.reason


def test_intact_clips_get_the_answers_of_the_run_on_every_domain(runs, subjects):
    report = probe_temporal(subjects("ordered"))
    assert [each.domain for each in report.domains] == ["2dot", "5dot", "mnist", "mnist-bg"]
    for domain in report.domains:
        stored = [read_predictions(predictions_path(runs("ordered"), seed, domain.domain)) for seed in SEEDS]
        assert domain.rows[0].hits == tuple(int(each.correct.sum()) for each in stored)
        assert domain.content_hash == stored[0].content_hash


@pytest.mark.parametrize(
    "shuffled, frozen, learned, answer",
    [
        ((-0.01, 0.01), (0.2, 0.4), True, "no"),
        ((0.01, 0.02), (0.2, 0.4), True, "no"),  # something, but less than the margin
        ((0.01, 0.2), (0.2, 0.4), True, "yes"),
        ((0.01, 0.2), (-0.01, 0.4), True, "open"),
        ((0.01, 0.2), (-0.01, 0.01), True, "no"),
        ((-0.01, 0.06), (0.2, 0.4), True, "open"),
        ((-0.3, -0.1), (0.2, 0.4), True, "open"),
        ((0.1, 0.2), (0.2, 0.4), False, "open"),
        ((-0.01, 0.01), (0.2, 0.4), False, "open"),
    ],
)
def test_the_answer_follows_from_the_intervals(shuffled, frozen, learned, answer):
    drops = {name: Estimate(sum(frozen) / 2, *frozen, "clips") for name in FROZEN}
    drops["shuffled"] = Estimate(sum(shuffled) / 2, *shuffled, "clips")
    assert uses_order(drops, learned)[0] == answer


def test_paired_drop_of_one_seed_by_hand():
    right = np.array([[True] * 60 + [False] * 40])
    other = right.copy()
    other[0, :12] = False
    other[0, 60:63] = True
    drop = paired_drop(right, other)
    assert drop.value == pytest.approx(0.09)
    variance = (15 - 100 * 0.09**2 + 1) / (100 * 99)
    assert drop.high - drop.value == pytest.approx(1.984 * math.sqrt(variance), rel=1e-3)
    assert drop.variance == "clips"


@pytest.mark.parametrize("seeds, seed_sd", [(1, 0.0), (5, 0.3)])
def test_paired_drop_covers(seeds, seed_sd):
    rng = np.random.default_rng(seeds)
    covered = []
    for _ in range(400):
        clip, seed = rng.normal(size=200), rng.normal(0, seed_sd, (seeds, 1))
        noise = rng.normal(size=(seeds, 200))
        kept = np.where(rng.random((seeds, 200)) < 0.7, noise, rng.normal(size=(seeds, 200)))
        right = special.ndtri(0.8) * math.sqrt(2) + clip + noise > 0
        other = special.ndtri(0.6) * math.sqrt(2 + seed_sd**2) + clip + kept + seed > 0
        drop = paired_drop(right, other)
        covered.append(drop.low <= 0.2 <= drop.high)
    assert 0.92 <= np.mean(covered) <= 0.985


def test_a_model_that_sees_nothing_in_the_dark_has_its_half_dose_there(subjects):
    """Contrast 0.3 is below what it needs, 0.4 above: rr* rises from about 0 to 1 in between."""
    report = probe_dose(subjects("dimmed"), "contrast", (0.2, 0.3, 0.4, 0.7, 1.0))
    rising, falling = report.half["rr*"]
    assert 0.3 < rising.low <= rising.value <= rising.high < 0.4
    assert falling.value is None
    assert [dose.hits[0] for dose in report.doses[:2]] == [30, 30]  # class 0 has 30 of 150 clips
    assert report.doses[4].accuracy.low > 0.5
    assert report.base["name"] == "2dot"
    json.dumps(report.to_json(), allow_nan=False)


def test_doses_pair_the_clips_and_match_the_clip_files(data_dir, tmp_path):
    domain = tsgen.DOMAINS["5dot"]
    tsgen.make(domain, 30, tmp_path / "5dot.h5", seed=0, split="test")
    with tsgen.open_clips(tmp_path / "5dot.h5") as file:
        made = make_clips(domain, 30, 0, None)
        assert np.array_equal(made.clips, file.clips())
        assert np.array_equal(made.labels, file.labels)
    wide = make_clips(domain.with_dials(width_px=8), 30, 0, None)
    assert np.array_equal(wide.labels, made.labels)
    assert np.array_equal(wide.clip_id, made.clip_id)
    assert wide.clips.sum() > 2 * made.clips.sum()


def test_dials_that_do_nothing_or_do_not_fit_are_refused(subjects, tiny, data_dir, tmp_path):
    subject = subjects("ordered")
    with pytest.raises(UsageError, match="intensity has no effect on 2dot, whose background is black"):
        probe_dose(subject, "intensity", (0.1, 0.5))
    with pytest.raises(UsageError, match="width 33 is not possible"):
        probe_dose(subject, "width_px", (2, 33))
    said = []
    with pytest.raises(UsageError, match="leaves no start position for class 'spiral' with a 12 px entity"):
        probe_dose(subject, "width_px", (2, 12), say=said.append)
    assert not said  # before anything was evaluated
    with pytest.raises(UsageError, match=r"unknown dial 'width'. Did you mean 'width_px'\?"):
        parse_values("width", "1,2")
    for text, message in (("1", "takes 2"), ("1,1", "name 1 twice"), ("1,x", "not whole numbers")):
        with pytest.raises(UsageError, match=message):
            parse_values("width_px", text)
    assert parse_values("intensity", "0.5,0") == (0.0, 0.5)
    strict = tmp_path / "order.toml"
    strict.write_text('base = "2dot"\nprofile = "order"\n')
    with pytest.raises(UsageError, match="has the classes forward, reversed; the model knows circle"):
        probe_dose(subject, "width_px", (2, 3), str(strict))
    assert {name for dial in DIALS.values() for name in dial.fields} <= set(tsgen.Domain.__dataclass_fields__)


def test_frames_that_the_layers_cannot_take_are_refused(tiny, data_dir, tmp_path):
    run(tiny, tmp_path / "cnn", digits="embedded", data_dir=data_dir, device="cpu", threads=1, quiet=True)
    cnn = open_subject(tmp_path / "cnn", data_dir=data_dir, device="cpu", threads=1)
    with pytest.raises(UsageError, match="made for clips of 20 frames and cannot take 15"):
        probe_dose(cnn, "num_frames", (15, 20))
    report = probe_dose(cnn, "num_frames", (17, 20))  # 17 and 20 frames are both 2 after three poolings
    assert [len(dose.hits) for dose in report.doses] == [1, 1]


def test_a_grain_turns_both_ends_and_noise_needs_a_background(subjects):
    report = probe_dose(subjects("ordered"), "sigma", (1, 8), "mnist-bg")
    assert report.base["sigma_high"] == 10
    assert "half-robustness dose" in report.render()


def call(*arguments):
    return CliRunner().invoke(cli, [str(each) for each in arguments])


def test_the_command_prints_writes_and_leaves_the_run_alone(runs, data_dir, tmp_path):
    path = runs("unordered")
    before = sorted((each, each.stat().st_mtime_ns) for each in path.rglob("*"))
    where = ("--data-dir", data_dir, "--device", "cpu", "--threads", "1", "--domains", "5dot", "--seeds", "61")
    done = call("probe", path, *where, "--out", tmp_path / "probe.json")
    assert done.exit_code == 0, done.output
    assert "uses temporal order on 5dot:" in done.stdout
    stored = json.loads((tmp_path / "probe.json").read_text())
    assert stored == json.loads(call("probe", path, *where, "--json").stdout)
    assert [each["seed"] for each in stored["checkpoints"]] == [61]
    assert [row["probe"] for row in stored["domains"][0]["rows"]] == list(PROBES)
    assert str(tmp_path) not in json.dumps(stored)
    assert sorted((each, each.stat().st_mtime_ns) for each in path.rglob("*")) == before
    again = call("probe", path, *where, "--out", tmp_path / "probe.json")
    assert "exists; give another name or add --force" in str(again.exception)


@pytest.mark.parametrize(
    "options, message",
    [
        ("--dial width_px", "--dial and --values belong together"),
        ("--base 5dot", "--base is the domain whose dial is turned"),
        ("--dial width_px --values 1,2 --domains 5dot", "with --dial, give --base"),
        ("--domains 6dot", "unknown domain of this run '6dot'. Did you mean"),
        ("--seeds 7", "seed 7 is not one of this run: 0, 61"),
        ("--level 0.3", "level 0.3: the run kept no levels"),
        ("--device gpu", "unknown device 'gpu'"),
    ],
)
def test_requests_that_make_no_sense(runs, data_dir, options, message):
    done = call("probe", runs("unordered"), "--data-dir", data_dir, *options.split())
    assert isinstance(done.exception, UsageError)
    assert message in str(done.exception)


def test_other_clips_unfinished_runs_and_foreign_checkpoints(runs, data_dir, tmp_path):
    path = tmp_path / "copy"
    path.mkdir()
    for name in ("config.json", "data.json", "result.json"):
        (path / name).write_bytes((runs("unordered") / name).read_bytes())
    for seed, of in ((0, 0), (61, 0)):
        (path / f"seed{seed}").mkdir()
        source = runs("unordered") / f"seed{of}" / "checkpoint.safetensors"
        (path / f"seed{seed}" / "checkpoint.safetensors").write_bytes(source.read_bytes())
    with pytest.raises(DataError, match="is of another run"):
        open_subject(path, data_dir=data_dir, device="cpu", threads=1)
    open_subject(path, data_dir=data_dir, device="cpu", threads=1, seeds=(0,))
    digests = json.loads((path / "data.json").read_text())
    (path / "data.json").write_text(json.dumps({**digests, "mnist/test": "0" * 64}))
    with pytest.raises(UsageError, match="is about other clips of mnist/test"):
        open_subject(path, data_dir=data_dir, device="cpu", threads=1, seeds=(0,))
    (path / "data.json").unlink()
    with pytest.raises(DataError, match="is missing: it says which clips"):
        open_subject(path, data_dir=data_dir, device="cpu", threads=1, seeds=(0,))
    (path / "result.json").unlink()
    with pytest.raises(UsageError, match="is not finished"):
        open_subject(path, data_dir=data_dir, device="cpu", threads=1)


def test_clips_of_the_run_are_those_of_its_plan(subjects, data_dir):
    subject = subjects("unordered")
    plan = plan_data(subject.config, "embedded", data_dir)
    assert subject.plan.digests() == plan.digests()
    assert torch.equal(subject.checkpoints[0].weights["net.weight"], subject.checkpoints[1].weights["net.weight"])
