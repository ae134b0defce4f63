from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch

from benchmark.data import SourceData, TargetData
from benchmark.engine import fit as fit_module
from benchmark.engine.fit import StoppedError, Watch, epoch_order, fit
from benchmark.engine.member import Training, fresh_model
from benchmark.engine.pack import Tuning
from benchmark.engine.precision import self_test
from benchmark.engine.selection import Epoch, best_epoch, stop_reason
from benchmark.engine.state import load_state, save_state
from benchmark.engine.step import Steps
from benchmark.engine.tuning import models_per_second, tune
from benchmark.run import run
from tsgen.common.errors import DataError, RacError, UsageError

CPU = torch.device("cpu")


def fit_one(config, seed, source, state=None, **watch):
    """One training by itself; raises its failure."""
    outcome = fit([Training(config, seed, source, state)], CPU, watch=Watch(**watch))[0]
    if isinstance(outcome, RacError):
        raise outcome
    return outcome


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
    with pytest.raises(TypeError, match="training takes SourceData, not TargetData"):
        Training(tiny, 42, target)


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
    return fit_one(tiny, 0, source)


class InterruptedError(Exception):
    pass


@pytest.mark.parametrize("batches_done", [1, 2, 5])  # in the first of three epochs, at its end, in the third
def test_stopped_training_goes_on_to_the_same_bits(tiny, source, whole, tmp_path, batches_done):
    counter = iter(range(1, 1000))

    def stop(members):
        if next(counter) == batches_done:
            raise InterruptedError

    state = tmp_path / "state.safetensors"
    with pytest.raises(InterruptedError):
        fit_one(tiny, 0, source, state, on_batch=stop)
    resumed = fit_one(tiny, 0, source, state)
    assert weights_equal(resumed.weights, whole.weights)
    assert without_seconds(resumed) == without_seconds(whole)
    assert weights_equal(fit_one(tiny, 0, source, state).weights, whole.weights)  # a finished one stays as it is


def test_momentum_is_part_of_the_state(tiny, source, whole, tmp_path):
    """The test above would not notice lost momentum if it did not matter: it does."""
    state = tmp_path / "state.safetensors"
    one_epoch = dataclasses.replace(tiny, max_epochs=1)
    fit_one(one_epoch, 0, source, state)
    tensors, facts = load_state(state)
    facts["belongs_to"]["config"]["max_epochs"] = tiny.max_epochs
    forgetful = {name: tensor for name, tensor in tensors.items() if not name.startswith("momentum")}
    assert len(forgetful) < len(tensors)
    save_state(state, forgetful, facts)
    other = fit_one(tiny, 0, source, state)
    assert without_seconds(other) != without_seconds(whole)


def test_seeds_give_different_weights(tiny, source):
    one = dataclasses.replace(tiny, max_epochs=1)
    assert not weights_equal(fit_one(one, 0, source).weights, fit_one(one, 1, source).weights)


def test_state_of_another_run_is_refused(tiny, source, tmp_path):
    state = tmp_path / "state.safetensors"
    fit_one(dataclasses.replace(tiny, max_epochs=1), 0, source, state)
    with pytest.raises(DataError, match="belongs to another run"):
        fit_one(tiny, 0, source, state)


def test_damaged_state_is_refused(tiny, source, tmp_path):
    state = tmp_path / "state.safetensors"
    state.write_bytes(b"\xff" * 100)
    with pytest.raises(DataError, match="is damaged"):
        fit_one(tiny, 0, source, state)


def test_infinite_loss_names_the_batch_and_keeps_the_last_good_state(tiny, source, tmp_path, monkeypatch):
    state = tmp_path / "state.safetensors"
    train_epoch, calls = Steps.train_epoch, iter(range(1, 100))

    def diverge_in_epoch_2(self, *arguments):
        losses = train_epoch(self, *arguments).clone()
        if next(calls) == 2:
            losses[1] = float("nan")
        return losses

    monkeypatch.setattr(Steps, "train_epoch", diverge_in_epoch_2)
    with pytest.raises(
        RacError, match=r"seed 5: the loss is not finite in epoch 2, batch 2 of 2 .* the state after epoch 1 is kept"
    ):
        fit_one(tiny, 5, source, state)
    assert len(load_state(state)[1]["history"]) == 1


def test_a_huge_rate_really_diverges_and_the_others_of_the_pack_go_on(tiny, source, whole):
    """Seed 1 starts from weights that overflow; seed 0 beside it ends as if it were alone."""
    trainings = [Training(tiny, 0, source), Training(tiny, 1, source)]
    original = fit_module.Member.begin

    def begin(training, device):
        member = original(training, device)
        if training.seed == 1:
            member.weights = {name: tensor * float("inf") for name, tensor in member.weights.items()}
        return member

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_module.Member, "begin", begin)
        good, bad = fit(trainings, CPU, tuning=Tuning(2))
    assert "seed 1: the loss is not finite in epoch 1, batch 1 of 2" in str(bad)
    assert len(good.history) == len(whole.history)


def test_stop_ends_after_an_epoch_and_resumes(tiny, source, whole, tmp_path):
    state = tmp_path / "state.safetensors"
    with pytest.raises(StoppedError):
        fit_one(tiny, 0, source, state, stop=lambda: True)
    assert len(load_state(state)[1]["history"]) == 1
    assert weights_equal(fit_one(tiny, 0, source, state).weights, whole.weights)


FAMILIES = [("3dcnn", 2), ("convlstm", 2), ("timesf-1", 2), ("timesf-8", 2)]


@pytest.mark.parametrize("model, hidden", FAMILIES)
def test_a_pack_trains_each_member_as_if_it_were_alone(model, hidden, tiny, source, tmp_path, monkeypatch):
    """Three seeds, two of them of another source, in float64: equal to 1e-10 after two epochs."""
    config = dataclasses.replace(tiny, model=model, hidden=hidden, max_epochs=2, n_train=10, batch_size=5)
    other = dataclasses.replace(source)  # the same clips as a second source domain
    trainings = [Training(config, 3, source), Training(config, 4, other), Training(config, 5, other)]
    use_float64(monkeypatch)
    alone = [fit([training], CPU)[0] for training in trainings]
    for pack_size in (2, 3):
        together = fit(trainings, CPU, tuning=Tuning(pack_size))
        for one, packed in zip(alone, together, strict=True):
            assert [epoch.val_accuracy for epoch in one.history] == [epoch.val_accuracy for epoch in packed.history]
            for name, tensor in one.weights.items():
                torch.testing.assert_close(packed.weights[name], tensor, rtol=0, atol=1e-10, msg=name)


def use_float64(monkeypatch):
    original, as_input = fit_module.Member.model, Steps._input
    monkeypatch.setattr(fit_module.Member, "model", lambda self: original(self).double())
    monkeypatch.setattr(Steps, "_input", lambda self, clips, index: as_input(self, clips, index).double())


def test_a_pack_that_stops_at_different_epochs(tiny, source, monkeypatch):
    """Members of a pack end by their own patience; what remains goes on."""
    use_float64(monkeypatch)
    config = dataclasses.replace(tiny, max_epochs=6, patience=2, learning_rate=0.1)
    trainings = [Training(config, seed, source) for seed in range(4)]
    alone, together = ([len(one.history) for one in fit(trainings, CPU, tuning=Tuning(size))] for size in (1, 3))
    assert alone == together
    assert len(set(alone)) > 1


def test_out_of_memory_halves_the_pack_and_says_so(tiny, source, monkeypatch):
    train_epoch, sizes, said = Steps.train_epoch, [], []

    def too_small_a_device(self, orders, *rest):
        sizes.append(len(orders))
        if len(orders) > 1:
            raise torch.OutOfMemoryError("no memory left")
        return train_epoch(self, orders, *rest)

    monkeypatch.setattr(Steps, "train_epoch", too_small_a_device)
    one = dataclasses.replace(tiny, max_epochs=1)
    outcomes = fit(
        [Training(one, seed, source) for seed in range(4)], CPU, tuning=Tuning(4), watch=Watch(say=said.append)
    )
    assert sizes == [4, 2, 1, 1, 1, 1]
    assert [len(fitted.history) for fitted in outcomes] == [1] * 4
    assert said == [f"out of memory with {n} models at a time: going on with {n // 2}" for n in (4, 2)]

    monkeypatch.setattr(Steps, "train_epoch", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("none")))
    with pytest.raises(RacError, match="3dcnn with 2 hidden units does not fit into the memory"):
        fit([Training(one, 0, source)], CPU)


def test_memory_of_the_cpu_that_runs_out(tiny, source, monkeypatch):
    """Really: a batch that asks the allocator for 2**62 bytes."""
    monkeypatch.setattr(Steps, "train_epoch", lambda *_: torch.empty(2**60))
    with pytest.raises(RacError, match="does not fit into the memory"):
        fit([Training(tiny, 0, source)], CPU)


def test_trainings_of_one_pack_have_one_protocol(tiny, source):
    other = dataclasses.replace(tiny, learning_rate=0.5)
    with pytest.raises(ValueError, match=r"differ in .*learning_rate"):
        fit([Training(tiny, 0, source), Training(other, 1, source)], CPU)


@pytest.mark.parametrize("model, hidden", FAMILIES)
def test_bf16_trains_and_keeps_float32_weights(model, hidden, tiny, source):
    config = dataclasses.replace(tiny, model=model, hidden=hidden, max_epochs=1, precision="bf16")
    exact = fit_one(dataclasses.replace(config, precision="fp32"), 0, source)
    fitted = fit_one(config, 0, source)
    assert all(w.dtype == torch.float32 for w in fitted.weights.values() if w.is_floating_point())
    assert fitted.history[0].train_loss == pytest.approx(exact.history[0].train_loss, rel=0.05)
    assert not weights_equal(fitted.weights, exact.weights)


def test_a_precision_that_computes_nonsense_is_refused(tiny, source):
    class Wrong(torch.nn.Module):
        def forward(self, x):
            return x.flatten(1)[:, :5] * (2 if torch.is_autocast_enabled("cpu") else 1)

    self_test(Wrong(), torch.rand(2, 20, 1, 64, 64), "fp32")
    with pytest.raises(RacError, match=r"precision bf16 is off by 100\.0%"):
        self_test(Wrong(), torch.rand(2, 20, 1, 64, 64), "bf16")


def test_a_cpu_trains_one_at_a_time_unless_told(tiny, source):
    trainings = [Training(tiny, seed, source) for seed in range(3)]
    assert tune("auto", trainings, CPU) == Tuning(1, "eager")
    assert tune("2", trainings, CPU) == Tuning(2, "eager")
    for wrong in ("0", "-1", "many"):
        with pytest.raises(UsageError, match="pack"):
            tune(wrong, trainings, CPU)
    assert models_per_second(trainings, CPU, Tuning(3), rounds=1) > 0


def test_weights_do_not_depend_on_what_was_drawn_before(tiny, source):
    training = Training(tiny, 7, source)
    first = fresh_model(training).state_dict()
    torch.rand(3)
    assert weights_equal(first, fresh_model(training).state_dict())


def test_a_finished_run_needs_no_digits_but_is_about_its_own_clips(tiny, data_dir, tmp_path, monkeypatch):
    config = dataclasses.replace(tiny, seeds=(0,), max_epochs=1)

    def ask(digits):
        return run(config, tmp_path / "run", digits=digits, data_dir=data_dir, device="cpu", quiet=True, resume=True)

    ask("embedded")
    ask(str(tmp_path / "gone"))
    monkeypatch.setattr("tsgen.digits.resolve_source", lambda *_: pytest.fail("looks for digits, perhaps downloads"))
    ask("auto")
    monkeypatch.undo()
    record = tmp_path / "run" / "data.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "2dot/train": "0" * 64}))
    with pytest.raises(UsageError, match="is about other clips of 2dot/train"):
        ask("embedded")
