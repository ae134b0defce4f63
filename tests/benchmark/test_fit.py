from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from benchmark.data import SourceData, TargetData
from benchmark.engine import fit as fit_module
from benchmark.engine.fit import epoch_order, fit
from benchmark.engine.selection import Epoch, best_epoch, stop_reason
from benchmark.engine.state import load_state, save_state
from tsgen.common.errors import DataError, RacError

CPU = torch.device("cpu")


def history(*accuracies):
    return [Epoch(number, 1.0, 1.0, accuracy, 0.0) for number, accuracy in enumerate(accuracies, 1)]


def test_first_maximum_is_kept():
    assert best_epoch(history(0.2, 0.7, 0.5, 0.7)) == 2


@pytest.mark.parametrize(
    "accuracies, reason",
    [
        ([], None),
        ([0.5, 0.5], None),  # one epoch without improvement
        ([0.5, 0.5, 0.4], "patience"),  # two of them
        ([0.5, 0.4, 0.6, 0.6], None),
        ([0.1, 0.2, 0.3, 0.4, 0.5], "max_epochs"),
    ],
)
def test_stopping(accuracies, reason):
    assert stop_reason(history(*accuracies), max_epochs=5, patience=2) == reason


def test_epoch_order_is_a_permutation_of_seed_and_epoch():
    order = epoch_order(0, 1, 100)
    assert sorted(order) == list(range(100))
    assert not np.array_equal(order, epoch_order(0, 2, 100))
    assert not np.array_equal(order, epoch_order(1, 1, 100))
    assert np.array_equal(order, epoch_order(0, 1, 100))


def test_fit_refuses_target_data(tiny, plan):
    target = plan.load_targets(lambda line: None)[0]
    with pytest.raises(TypeError, match="fit takes SourceData, not TargetData"):
        fit(tiny, 42, target, CPU)


def test_the_two_kinds_of_data_cannot_be_mixed(source, plan):
    target = plan.load_targets(lambda line: None)[0]
    with pytest.raises(ValueError, match="train and val split of one domain"):
        SourceData(source.train, target.clips)
    with pytest.raises(ValueError, match="target data are a test split, not 'val'"):
        TargetData(source.val)


def weights_equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def without_seconds(fitted):
    return [dataclasses.replace(epoch, seconds=0.0) for epoch in fitted.history]


@pytest.fixture(scope="module")
def whole(tiny, source):
    return fit(tiny, 0, source, CPU)


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("batches_done", [1, 2, 5])  # in the first of three epochs, at its end, in the third
def test_stopped_training_goes_on_to_the_same_bits(tiny, source, whole, tmp_path, batches_done):
    counter = iter(range(1, 1000))

    def stop():
        if next(counter) == batches_done:
            raise StoppedError

    state = tmp_path / "state.safetensors"
    with pytest.raises(StoppedError):
        fit(tiny, 0, source, CPU, state, on_batch=stop)
    resumed = fit(tiny, 0, source, CPU, state)
    assert weights_equal(resumed.weights, whole.weights)
    assert without_seconds(resumed) == without_seconds(whole)
    assert weights_equal(fit(tiny, 0, source, CPU, state).weights, whole.weights)  # a finished one stays as it is


def test_momentum_is_part_of_the_state(tiny, source, whole, tmp_path):
    """The test above would not notice lost momentum if it did not matter: it does."""
    state = tmp_path / "state.safetensors"
    one_epoch = dataclasses.replace(tiny, max_epochs=1)
    fit(one_epoch, 0, source, CPU, state)
    tensors, facts = load_state(state)
    facts["belongs_to"]["config"]["max_epochs"] = tiny.max_epochs
    forgetful = {name: tensor for name, tensor in tensors.items() if not name.startswith("momentum")}
    assert len(forgetful) < len(tensors)
    save_state(state, forgetful, facts)
    other = fit(tiny, 0, source, CPU, state)
    assert without_seconds(other) != without_seconds(whole)


def test_seeds_give_different_weights(tiny, source):
    one = dataclasses.replace(tiny, max_epochs=1)
    assert not weights_equal(fit(one, 0, source, CPU).weights, fit(one, 1, source, CPU).weights)


def test_state_of_another_run_is_refused(tiny, source, tmp_path):
    state = tmp_path / "state.safetensors"
    fit(dataclasses.replace(tiny, max_epochs=1), 0, source, CPU, state)
    with pytest.raises(DataError, match="belongs to another run"):
        fit(tiny, 0, source, CPU, state)


def test_damaged_state_is_refused(tiny, source, tmp_path):
    state = tmp_path / "state.safetensors"
    state.write_bytes(b"\xff" * 100)
    with pytest.raises(DataError, match="is damaged"):
        fit(tiny, 0, source, CPU, state)


def test_infinite_loss_names_the_epoch_and_keeps_the_last_good_state(tiny, source, tmp_path, monkeypatch):
    state = tmp_path / "state.safetensors"
    train_epoch, calls = fit_module._train_epoch, iter(range(1, 100))

    def diverge_in_epoch_2(*arguments):
        loss = train_epoch(*arguments)
        return loss * float("nan") if next(calls) == 2 else loss

    monkeypatch.setattr(fit_module, "_train_epoch", diverge_in_epoch_2)
    with pytest.raises(RacError, match=r"seed 5: the loss is not finite in epoch 2 .* the state after epoch 1 is kept"):
        fit(tiny, 5, source, CPU, state)
    assert len(load_state(state)[1]["history"]) == 1
