"""Adam in the engine: against torch's own loop, in packs, after an interruption, and beside SGD."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from benchmark.config import OPTIMIZERS
from benchmark.engine import fit as fit_module
from benchmark.engine.fit import Watch, epoch_flips, epoch_order, fit
from benchmark.engine.member import Training, fresh_model
from benchmark.engine.optimizer import RULES
from benchmark.engine.pack import Tuning
from benchmark.engine.state import load_state, save_state
from benchmark.engine.step import Steps
from benchmark.evaluation import as_model_input
from tests.benchmark.colour_samples import CONFIG, source
from tsgen.common.errors import DataError, RacError

CPU = torch.device("cpu")
ADAM = dataclasses.replace(CONFIG, optimizer="adam", learning_rate=1e-3, max_epochs=3)
MODELS = ["3dcnn", "timesf-1"]


@pytest.fixture(scope="module")
def clips():
    return source()


def train(config, clips, path=None, watch=None):
    """Weights and history of one training by itself."""
    outcome = fit([Training(config, 3, clips, path)], CPU, watch=watch or Watch())[0]
    assert not isinstance(outcome, RacError), outcome
    return outcome


def test_every_optimizer_of_a_config_has_its_rule():
    assert tuple(RULES) == OPTIMIZERS


@pytest.mark.parametrize("model", MODELS)
def test_it_is_torch_s_adam_with_weight_decay_in_the_gradient(model, clips, tmp_path):
    """The same batches in a loop written out here: equal bits after three epochs."""
    config = dataclasses.replace(ADAM, model=model, weight_decay=0.1)
    train(config, clips, tmp_path / "state")
    net = fresh_model(Training(config, 3, clips))
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.9, 0.999), weight_decay=0.1)
    frames, labels = torch.from_numpy(clips.train.clips), torch.from_numpy(clips.train.labels)
    for epoch in (1, 2, 3):
        order, flips = (torch.from_numpy(draw(3, epoch, 24)) for draw in (epoch_order, epoch_flips))
        for batch in order.split(8):
            x = as_model_input(frames[batch])
            x = torch.where(flips[batch][:, None, None, None, None], x.flip(-1), x)
            optimizer.zero_grad()
            F.cross_entropy(net(x), labels[batch], reduction="none").mean().backward()
            optimizer.step()
    stored = load_file(tmp_path / "state")
    for name, tensor in net.state_dict().items():
        assert torch.equal(stored[f"model.{name}"], tensor), name
    for name, parameter in net.named_parameters():
        for slot in ("step", "exp_avg", "exp_avg_sq"):
            assert torch.equal(stored[f"{slot}.{name}"], optimizer.state[parameter][slot]), (slot, name)


class StopHereError(Exception):
    pass


def after(calls):
    """A callback that ends the training at its ``calls``-th call."""
    counter = iter(range(1, 1000))

    def stop(*_):
        if next(counter) == calls:
            raise StopHereError

    return stop


@pytest.mark.parametrize("batches", [2, 3, 8])  # in the first of three epochs, at its end, in the third
def test_an_interrupted_training_goes_on_to_equal_tensors(batches, clips, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train(ADAM, clips, whole)
    with pytest.raises(StopHereError):
        train(ADAM, clips, parts, Watch(on_batch=after(batches)))
    train(ADAM, clips, parts)
    one, other = load_file(whole), load_file(parts)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("lost", ["exp_avg.", "exp_avg_sq.", "step."])
def test_all_of_the_state_matters(lost, clips, tmp_path):
    """The test above would not notice what is lost if it did not matter: it does."""
    whole = train(ADAM, clips)
    state = tmp_path / "state"
    train(dataclasses.replace(ADAM, max_epochs=1), clips, state)
    tensors, facts = load_state(state)
    facts["belongs_to"]["config"]["max_epochs"] = ADAM.max_epochs
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith(lost)}
    assert len(kept) < len(tensors)
    save_state(state, kept, facts)
    assert train(ADAM, clips, state).history[-1].train_loss != whole.history[-1].train_loss


def test_what_the_files_hold(clips, tmp_path):
    """Those of SGD are what they always were."""
    for optimizer, slots in (("sgd", {"momentum"}), ("adam", {"exp_avg", "exp_avg_sq", "step"})):
        config = dataclasses.replace(ADAM, optimizer=optimizer, max_epochs=1)
        train(config, clips, tmp_path / optimizer)
        tensors, facts = load_state(tmp_path / optimizer)
        assert {name.partition(".")[0] for name in tensors} == {"model", *slots}
        assert ("optimizer" in facts["belongs_to"]["config"]) == (optimizer != "sgd")
    with pytest.raises(DataError, match="belongs to another run"):
        train(dataclasses.replace(ADAM, max_epochs=1), clips, tmp_path / "sgd")


def use_float64(monkeypatch):
    original, as_input = fit_module.Member.model, Steps._input
    monkeypatch.setattr(fit_module.Member, "model", lambda self: original(self).double())
    monkeypatch.setattr(Steps, "_input", lambda self, clips, index: as_input(self, clips, index).double())


def assert_same(packed, alone):
    assert [epoch.val_accuracy for epoch in packed.history] == [epoch.val_accuracy for epoch in alone.history]
    for name, tensor in alone.weights.items():
        torch.testing.assert_close(packed.weights[name], tensor, rtol=0, atol=1e-10, msg=name)


@pytest.mark.parametrize("model", MODELS)
def test_a_pack_trains_each_member_as_if_it_were_alone(model, clips, monkeypatch):
    """Three seeds, two of them of another source, in float64: equal to 1e-10."""
    use_float64(monkeypatch)
    config, other = dataclasses.replace(ADAM, model=model), dataclasses.replace(clips)
    trainings = [Training(config, 3, clips), Training(config, 4, other), Training(config, 5, other)]
    alone = [fit([training], CPU)[0] for training in trainings]
    for one, packed in zip(alone, fit(trainings, CPU, Tuning(3)), strict=True):
        assert_same(packed, one)


def test_members_that_began_at_different_epochs_count_their_own_steps(clips, tmp_path, monkeypatch):
    use_float64(monkeypatch)
    with pytest.raises(StopHereError):
        train(ADAM, clips, tmp_path / "state", Watch(on_epoch=after(2)))
    begun, fresh = Training(ADAM, 3, clips, tmp_path / "state"), Training(ADAM, 4, clips)
    together = fit([begun, fresh], CPU, Tuning(2))
    alone = [fit([Training(ADAM, seed, clips)], CPU)[0] for seed in (3, 4)]
    assert [len(one.history) for one in together] == [3, 3]
    for packed, one in zip(together, alone, strict=True):  # weights are float32 when a pack is made
        assert [epoch.train_loss for epoch in packed.history] == pytest.approx(
            [epoch.train_loss for epoch in one.history], rel=1e-5
        )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("pack_size", [1, 2])
def test_cuda_graphs_train_like_the_cpu(pack_size, clips):
    """Never run so far."""
    config = dataclasses.replace(ADAM, model="timesf-1", max_epochs=2)
    trainings = [Training(config, seed, clips) for seed in (3, 4)]
    both = (fit(trainings, device, Tuning(pack_size)) for device in (torch.device("cuda"), CPU))
    for mine, theirs in zip(*both, strict=True):
        for name, tensor in theirs.weights.items():
            torch.testing.assert_close(mine.weights[name].cpu(), tensor, rtol=1e-3, atol=1e-3, msg=name)
