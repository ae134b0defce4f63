"""Models that are not ours in the engine, and what may go wrong around a training."""

from __future__ import annotations

import dataclasses
import errno
import sys

import pytest
import torch
from torch import nn

from benchmark.engine.device import BITWISE, prepare
from benchmark.engine.fit import Watch, epoch_seed, fit
from benchmark.engine.member import Training, fresh_model
from benchmark.engine.pack import Pack, Tuning
from benchmark.engine.precision import prepare_precision
from benchmark.engine.state import save_state
from benchmark.engine.step import Resident, Steps
from tsgen.common.errors import RacError, UsageError

CPU = torch.device("cpu")


class Dropping(nn.Module):
    """Random in training, and with one layer under two names."""

    def __init__(self, num_classes):
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.again = self.first
        self.head = nn.Linear(64, num_classes)

    def forward(self, clips):
        x = clips.amax(dim=(1, 2, 3))
        return self.head(nn.functional.dropout(self.again(self.first(x)), 0.5, self.training))


@pytest.fixture
def dropping(tiny, monkeypatch):
    """A config whose model comes from outside."""
    module = type(sys)("dropping_model")
    module.build = Dropping
    monkeypatch.setitem(sys.modules, "dropping_model", module)
    return dataclasses.replace(tiny, model="py:dropping_model:build", hidden=0)


def losses(outcome):
    assert not isinstance(outcome, RacError), outcome
    return [epoch.train_loss for epoch in outcome.history]


def test_dropout_repeats_after_another_training_and_after_a_resume(dropping, source, tmp_path):
    alone = losses(fit([Training(dropping, 42, source)], CPU)[0])
    assert losses(fit([Training(dropping, 7, source), Training(dropping, 42, source)], CPU)[1]) == alone

    state = tmp_path / "state.safetensors"

    class InterruptedError(Exception):
        pass

    def interrupt(number, history):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        fit([Training(dropping, 42, source, state)], CPU, watch=Watch(on_epoch=interrupt))
    assert losses(fit([Training(dropping, 42, source, state)], CPU)[0]) == alone
    assert len({epoch_seed(seed, epoch) for seed in (1, 2) for epoch in (1, 2)}) == 4


def test_steps_that_warm_a_graph_up_may_be_more_than_an_epoch_has(tiny, source):
    """A CUDA graph is recorded after three steps; here they run as they are, in an epoch of two."""
    training = Training(tiny, 0, source)
    steps = Steps(Pack([fresh_model(training)], CPU, Tuning()), [{}], tiny, Resident.of([source], CPU), [0])
    assert steps.num_batches == 2
    for _ in range(4):
        steps._step()


def test_a_full_disk_is_told_by_its_number(monkeypatch, tmp_path):
    from safetensors import SafetensorError

    def full(*arguments, **options):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr("benchmark.engine.state.save_file", full)
    with pytest.raises(OSError, match="No space left") as caught:
        save_state(tmp_path / "state.safetensors", {"a": torch.zeros(1)}, {})
    assert caught.value.errno == errno.ENOSPC


def test_tf32_is_refused_on_a_cpu():
    prepare_precision("bf16", CPU)
    with pytest.raises(UsageError, match="tf32 is a mode of NVIDIA GPUs"):
        prepare_precision("tf32", CPU)


@pytest.mark.parametrize("pack, bitwise", [("auto", True), ("1", True), ("3", False)])
def test_stacked_models_promise_less(pack, bitwise):
    assert (prepare(CPU, None, pack).determinism == BITWISE) is bitwise
