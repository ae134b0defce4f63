"""The TimeSformers of the supplement's Table 10 as presets, cell by cell, and the page that lists them."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.config import PRESETS, make_config
from benchmark.engine.fit import StoppedError, Watch, epoch_seed, fit
from benchmark.engine.member import Training
from benchmark.engine.pack import Tuning
from benchmark.experiments import DIVING48_CLASSES, DIVING48_EXPERIMENTS, TIMESFORMER_VARIANTS, check_frames
from benchmark.models import FAMILIES, can_stack, count_parameters
from benchmark.models.specs import ClipShape
from benchmark.paper.tables import read_table
from tests.benchmark.colour_samples import CONFIG, source
from tsgen.common.errors import UsageError

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
OPTIMIZERS = {"sgd": "SGD", "adam": "Adam"}


@pytest.mark.parametrize(
    ("name", "row"), list(zip(TIMESFORMER_VARIANTS, read_table("supplement10").records(), strict=True))
)
def test_every_cell_of_table_10(name, row):
    """Batch sizes are printed for one of eight GPUs."""
    variant, config = TIMESFORMER_VARIANTS[name], PRESETS[name]
    spec = FAMILIES[config.model].spec_of(config.hidden)
    cells = {
        "Best val.": variant.published_percent,
        "Ep.": variant.published_epochs,
        "D": spec.dim,
        "D_h": spec.head_dim,
        "Depth": spec.depth,
        "Attn. do.": spec.attention_dropout,
        "Ff. do.": spec.feed_forward_dropout,
        "T": variant.frames,
        "Batch size": config.batch_size / 8,
        "Optimizer": OPTIMIZERS[config.optimizer],
        "Additional ll.": spec.extra_linear,
        "Patience": config.patience,
    }
    printed = {column: cell if column == "Optimizer" else float(cell) for column, cell in row.items()}
    assert cells == printed
    assert (spec.heads, spec.patch_px) == (8, 16)
    assert (config.learning_rate, config.momentum, config.weight_decay) == (1e-3, 0.9, 1e-5)


def test_the_rows_are_named_by_their_number():
    assert list(TIMESFORMER_VARIANTS) == [f"d48-timesf-{number}" for number in range(1, 12)]
    assert all(PRESETS[name].preset == name for name in TIMESFORMER_VARIANTS)


def test_rows_that_the_experiments_compare():
    for row, letters in (("d48-timesf-4", "abc"), ("d48-timesf-7", "ef")):
        for letter in letters:
            assert DIVING48_EXPERIMENTS[letter].contenders["TimeSformer"] == TIMESFORMER_VARIANTS[row].contender
        assert TIMESFORMER_VARIANTS[row].frames == 32
    assert dataclasses.replace(PRESETS["d48-timesf-4"], model="3dcnn-4l", preset="d48") == PRESETS["d48"]


def test_a_preset_is_an_architecture_that_can_be_shrunk():
    small = make_config("d48-timesf-8", hidden=2, batch_size=6)
    assert (small.model, small.hidden, small.optimizer, small.batch_size) == ("timesf-11l", 2, "adam", 6)
    assert make_config("d48-timesf-8", model="timesf-11l") == PRESETS["d48-timesf-8"]
    with pytest.raises(UsageError, match="preset d48-timesf-8 is timesf-11l, not 3dcnn-4l; leave --model out"):
        make_config("d48-timesf-8", model="3dcnn-4l")
    with pytest.raises(UsageError, match="Did you mean 'd48-timesf-8'"):
        make_config("d48-timsf-8")


def test_clips_of_another_number_of_frames_are_refused():
    check_frames("d48-timesf-1", 8)
    check_frames("d48-timesf-4", 32)
    check_frames("d48", 16)
    with pytest.raises(
        UsageError, match=r"d48-timesf-1 is for clips of 8 frames, those of --data have 32; .*--frames 8"
    ) as caught:
        check_frames("d48-timesf-1", 32)
    assert "take one for 32 frames: d48-timesf-3, d48-timesf-4, d48-timesf-7" in str(caught.value)
    with pytest.raises(UsageError, match=r"with --frames 32\.$"):
        check_frames("d48-timesf-4", 16)


def test_models_with_dropout_train_one_at_a_time(tmp_path):
    """A pack would draw the random numbers of its first seed: asked for one, each trains as it would alone."""
    assert not can_stack("timesf-12l-dropout", 2)
    assert not can_stack("py:some:model", 0)
    assert can_stack("timesf-12l-linear", 2)
    clips, config = source(), dataclasses.replace(CONFIG, model="timesf-12l-dropout", hidden=2, max_epochs=1)
    trainings = [Training(config, seed, clips) for seed in (3, 4)]
    alone = [fit([training], CPU)[0].weights for training in trainings]
    for one, packed in zip(alone, fit(trainings, CPU, Tuning(2)), strict=True):
        assert all(torch.equal(one[name], packed.weights[name]) for name in one)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_recording_a_graph_takes_no_random_numbers(tmp_path):
    """Resumed in a process that records its graph in the third epoch, dropout goes on as in one that did in the first.

    Never run so far.
    """
    clips, state = source(), tmp_path / "state"
    config = dataclasses.replace(CONFIG, model="timesf-12l-dropout", hidden=2, max_epochs=3, learning_rate=1e-3)
    whole = fit([Training(config, 3, clips)], torch.device("cuda"))[0]
    stops = iter((False, True))
    with pytest.raises(StoppedError):
        fit([Training(config, 3, clips, state)], torch.device("cuda"), watch=Watch(stop=lambda: next(stops)))
    resumed = fit([Training(config, 3, clips, state)], torch.device("cuda"))[0]
    losses = [[epoch.train_loss for epoch in one.history] for one in (whole, resumed)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_ranks_draw_their_own_numbers_and_the_first_those_of_one_process():
    assert epoch_seed(3, 1, 0) == epoch_seed(3, 1)
    assert len({epoch_seed(3, epoch, rank) for epoch in range(3) for rank in range(8)}) == 24


def models_table():
    rows = ["| preset | `--model` | h | T | trained with | parameters | best V, published |", "|---" * 7 + "|"]
    for name, variant in TIMESFORMER_VARIANTS.items():
        spec, config = variant.contender.spec, PRESETS[name]
        count = count_parameters(spec, ClipShape(variant.frames, 3, 224, 224), DIVING48_CLASSES)
        how = f"{OPTIMIZERS[config.optimizer]}, batch {config.batch_size}, patience {config.patience}"
        cells = (f"`{name}`", f"`{config.model}`", config.hidden, variant.frames, how)
        best = f"{variant.published_percent:.1f} %"
        rows.append("| " + " | ".join(map(str, (*cells, f"{count:,}".replace(",", " "), best))) + " |")
    return "\n".join(rows)


def test_the_models_page_has_the_table():
    assert models_table() in (ROOT / "docs" / "models.md").read_text()


def test_every_variant_trains_on_small_clips():
    """Clips of T frames through each model at D_h = 2."""
    for name, variant in TIMESFORMER_VARIANTS.items():
        config = make_config(name, hidden=2, batch_size=12, n_train=24, n_val=11, max_epochs=1)
        outcome = fit([Training(config, 3, source(variant.frames, 16))], CPU)[0]
        assert np.isfinite(outcome.history[0].train_loss), name
