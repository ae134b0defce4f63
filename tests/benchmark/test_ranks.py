"""Two processes over gloo against one with the whole batch; clips in colour, mirrored; clips left on the host."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from benchmark.config import RunConfig
from benchmark.data import Clips, DataFacts, SourceData
from benchmark.engine.fit import epoch_flips, fit
from benchmark.engine.member import Training
from benchmark.engine.ranks import Ranks, join_ranks, leave_ranks
from benchmark.evaluation import IMAGENET_DEVIATION, IMAGENET_MEAN, as_model_input, evaluation_batch
from tsgen.common.errors import UsageError

CPU = torch.device("cpu")
CONFIG = RunConfig(
    model="3dcnn",
    hidden=4,
    source="V",
    seeds=(3,),
    n_train=24,
    n_val=11,
    max_epochs=2,
    batch_size=8,
    learning_rate=1e-2,
)


def colour_clips(split: str, n: int) -> Clips:
    rng = np.random.default_rng(len(split))
    facts = DataFacts("V", split, "", 0, n, "", split, "", None, None)
    frames = rng.integers(0, 256, (n, 8, 16, 16, 3), dtype=np.uint8)
    labels = np.arange(n) % 3
    frames[labels == 1, :, :8] //= 4
    return Clips(frames, labels, np.arange(n), ("a", "b", "c"), facts)


def source() -> SourceData:
    return SourceData(colour_clips("train", 24), colour_clips("val", 11))


def train(model: str, out: Path, ranks: Ranks) -> None:
    """Both ways call this; the state file of the first rank holds weights and history."""
    config = dataclasses.replace(CONFIG, model=model, hidden=2 if model == "convlstm" else 4)
    fit([Training(config, 3, source(), out)], CPU, ranks=ranks)


@pytest.mark.parametrize("model", ["3dcnn", "convlstm", "timesf-1"])
def test_two_processes_do_what_one_does_with_the_whole_batch(model, tmp_path):
    """Float32 sums in another order: after two epochs weights differ by at most 1e-4 of their size."""
    train(model, tmp_path / "one.safetensors", Ranks())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [
        subprocess.Popen(
            [sys.executable, __file__, model, str(tmp_path / f"two-{rank}.safetensors")],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    assert [process.wait(120) for process in ranks] == [0, 0]
    assert not (tmp_path / "two-1.safetensors").exists()  # the first writes, alone
    one, two = load_file(tmp_path / "one.safetensors"), load_file(tmp_path / "two-0.safetensors")
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        if not name.startswith("momentum"):
            torch.testing.assert_close(
                two[name], tensor, rtol=1e-4, atol=1e-4, msg=lambda text, at=name: f"{at}: {text}"
            )


def test_a_batch_that_cannot_be_shared():
    with pytest.raises(UsageError, match="a batch of 8 clips cannot be shared by 3 processes"):
        Ranks(0, 3).check_batch(8)


def test_without_torchrun_there_is_one_rank(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join_ranks(CPU) == Ranks(0, 1)


def test_colour_is_normalised_and_one_channel_is_not():
    clips = torch.from_numpy(colour_clips("val", 2).clips)
    x = as_model_input(clips)
    assert x.shape == (2, 8, 3, 16, 16)
    green = (clips[1, 5, 3, 7, 1].double() / 255 - IMAGENET_MEAN[1]) / IMAGENET_DEVIATION[1]
    assert abs(float(x[1, 5, 1, 3, 7]) - float(green)) < 1e-5
    assert torch.equal(as_model_input(clips[..., 0]), clips[..., 0][:, :, None] / 255)
    assert evaluation_batch(torch.empty(5, 32, 224, 224, 3, dtype=torch.uint8)) == 1
    assert evaluation_batch(torch.empty(5, 20, 64, 64, dtype=torch.uint8)) == 64


def test_half_of_the_clips_are_mirrored_and_others_in_the_next_epoch():
    flips = epoch_flips(1, 1, 10000)
    assert 0.48 < flips.mean() < 0.52
    assert not np.array_equal(flips, epoch_flips(1, 2, 10000))
    assert not np.array_equal(flips, epoch_flips(2, 1, 10000))


def test_training_sees_mirrored_clips_and_validation_does_not(monkeypatch):
    """With every clip mirrored, training on mirrored clips is training on the plain ones."""

    def weights(flipped: bool) -> dict[str, torch.Tensor]:
        own = source()
        if flipped:
            own = SourceData(dataclasses.replace(own.train, clips=own.train.clips[:, :, :, ::-1].copy()), own.val)
        monkeypatch.setattr("benchmark.engine.fit.epoch_flips", lambda seed, epoch, n: np.full(n, flipped, dtype=bool))
        return fit([Training(CONFIG, 3, own)], CPU)[0].weights

    plain, twice_mirrored = weights(False), weights(True)
    assert all(torch.equal(plain[name], twice_mirrored[name]) for name in plain)
    monkeypatch.setattr("benchmark.engine.fit.epoch_flips", lambda seed, epoch, n: np.ones(n, dtype=bool))
    mirrored = fit([Training(CONFIG, 3, source())], CPU)[0].weights
    assert any(not torch.equal(plain[name], mirrored[name]) for name in plain)


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(sys.argv[1], Path(sys.argv[2]), join_ranks(CPU))
    leave_ranks()
