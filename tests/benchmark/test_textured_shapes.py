"""Temporal Shape over textures that follow the class: what is drawn, and that rho says how often."""

import dataclasses

import numpy as np
import pytest

from benchmark.config import VIDEO_TARGETS
from benchmark.results import RunDirectory
from benchmark.textured_shapes import (
    TEXTURES,
    TexturedShapes,
    make_shapes,
    parse_shapes,
    texture,
    textures_of,
)
from benchmark.video_data import open_folder, targets_of
from tsgen.common.errors import UsageError

SMALL = TexturedShapes(train=20, val=10, test=10, swap=10, rho=1.0)


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return open_folder(make_shapes(SMALL, tmp_path_factory.mktemp("cache")))


def test_a_folder_that_rac_bench_takes(stores):
    assert targets_of(stores) == (*VIDEO_TARGETS, "O-swap")
    assert stores["train"].clip_shape == (20, 32, 32, 3)
    assert [len(stores[name]) for name in ("train", "val", "O", "O-swap")] == [20, 10, 10, 10]
    assert sorted(set(stores["train"].labels.tolist())) == [0, 1, 2, 3, 4]


def test_the_dot_moves_and_the_texture_does_not(stores):
    for row in range(3):
        clip = stores["O"].clip(row).astype(int)
        moved = (clip != clip[0]).any(axis=-1).sum(axis=(1, 2))
        assert (moved[5:] <= 60).all() and moved.max() > 0
        still = np.median(clip, axis=0)
        assert (np.abs(clip - still) <= 1).mean() > 0.9, "all but the dot is the same in every frame"


def test_domains_hide_what_they_should(stores):
    for row in range(3):
        whole, S1, T, B = (stores[name].clip(row).astype(int) for name in ("O", "S1", "T", "B"))
        bright = whole.min(axis=-1) > 200
        assert bright.any(axis=(1, 2)).mean() > 0.8
        assert (S1[bright] == whole[bright]).all(), "S1 keeps the dot"
        assert not (T.min(axis=-1) > 200).any(), "T has no dot"
        assert (B[..., 0] > 0).sum() < 0.1 * B[..., 0].size


def test_rho_is_how_often_the_texture_is_that_of_the_class():
    labels = np.arange(5000) % 5
    for rho, expected in ((0.0, 0.2), (0.5, 0.6), (1.0, 1.0)):
        what = dataclasses.replace(SMALL, rho=rho)
        for split, bound in (("train", labels), ("swap", (labels + 1) % 5)):
            share = (textures_of(what, split, labels) == bound).mean()
            assert share == pytest.approx(expected, abs=0.03), (rho, split)
    assert set(textures_of(dataclasses.replace(SMALL, rho=0.0), "val", labels)) == set(range(5))


def test_a_clip_keeps_its_dot_at_any_rho(stores, tmp_path):
    other = open_folder(make_shapes(dataclasses.replace(SMALL, rho=0.0), tmp_path))
    for row in range(3):
        assert np.array_equal(stores["B"].clip(row), other["B"].clip(row))
    assert stores["O"].content_hash != other["O"].content_hash


def test_the_same_recipe_gives_the_same_bytes(stores, tmp_path):
    again = open_folder(make_shapes(SMALL, tmp_path))
    assert {name: one.content_hash for name, one in again.items()} == {
        name: one.content_hash for name, one in stores.items()
    }


def test_textures_are_darker_than_the_dot():
    noise = np.random.default_rng(0).random((32, 32))
    for kind in range(len(TEXTURES)):
        field = texture(kind, noise)
        assert field.shape == (32, 32, 3) and field.min() >= 0 and field.max() <= 170


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rho=2", "rho = 2.0 is not possible"),
        ("rho=nan", "rho = nan is not possible"),
        ("train=0", "train = 0 clips is not possible"),
        ("train=x", "shapes: train=x is not possible; give a number"),
        ("roh=1", "unknown key of shapes: 'roh'. Did you mean 'rho'?"),
        ("rho=1,rho=0", "rho is given twice"),
        ("size=48", "size 48 is not possible; allowed: 32 or 64 px."),
        ("seed=-1", "seed -1 is not possible"),
    ],
)
def test_recipes_that_are_not_possible(text, words):
    with pytest.raises(UsageError) as problem:
        parse_shapes(f"shapes:{text}")
    assert words in str(problem.value)


def test_recipes():
    assert parse_shapes("shapes:") == TexturedShapes()
    assert parse_shapes("rho=0.5,blur-sigma-px=4") == TexturedShapes(rho=0.5, blur_sigma_px=4.0)


TINY = "shapes:train=20,val=10,test=10,swap=10"


def test_a_run_on_them_is_small_unless_told_otherwise(run_cli, tmp_path):
    asked = ("--data", TINY, "--model", "3dcnn", "--epochs", "1", "--batch-size", "5", "--threads", "1")
    done = run_cli("rac-bench", "run", *asked, "--out", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert "small, for a CPU: patience 1, seeds (1, 2), max_epochs 1, batch_size 5" in done.stderr
    config = RunDirectory(tmp_path / "run").read_config()
    assert (config.hidden, config.seeds, config.max_epochs, config.batch_size) == (8, (1, 2), 1, 5)
    assert config.targets == (*VIDEO_TARGETS, "O-swap") and config.learning_rate == 0.003
    named = run_cli("rac-bench", "run", "--data", TINY, "--preset", "d48-timesf-1")
    assert named.returncode == 2 and "is for clips of 8 frames, those of --data have 20" in named.stderr


def test_an_experiment_on_them(run_cli, tmp_path):
    asked = ("--experiment", "d48-g", "--data", TINY, "--shrink", "64", "--level", "0.1", "--epochs", "1")
    few = ("--seeds", "1", "--batch-size", "5", "--threads", "1", "--out", str(tmp_path / "g"))
    done = run_cli("rac-bench", "run", *asked, *few)
    assert done.returncode == 0, done.stderr
    assert "small, for a CPU: shrink 64, level 0.1" in done.stderr and "experiment g" in done.stdout
