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
from safetensors.torch import load_file, save_file

from benchmark.data import SourceData
from benchmark.engine.fit import epoch_flips, epoch_seed, fit
from benchmark.engine.member import Training
from benchmark.engine.ranks import Ranks, join_ranks, leave_ranks
from benchmark.engine.state import load_state, without_prefix
from benchmark.evaluation import IMAGENET_DEVIATION, IMAGENET_MEAN, as_model_input, evaluation_batch
from tests.benchmark.colour_samples import CONFIG, colour_clips, source
from tsgen.common.errors import UsageError

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]

CASES = {
    "3dcnn": CONFIG,
    "convlstm": dataclasses.replace(CONFIG, model="convlstm", hidden=2),
    "timesf-1": dataclasses.replace(CONFIG, model="timesf-1"),
    "adam": dataclasses.replace(CONFIG, model="timesf-1", optimizer="adam", learning_rate=1e-3),
    "fp32": dataclasses.replace(CONFIG, learning_rate=1e-3),
    "bf16": dataclasses.replace(CONFIG, learning_rate=1e-3, precision="bf16"),
}
IN_16_32 = ("fp32", "bf16")
"""Trained on 16 frames of 32x32 px."""


def train(folder: Path, ranks: Ranks) -> None:
    """Both ways call this; the state files of the first rank hold weights and history."""
    for name, config in CASES.items():
        # oneDNN's gradients of bfloat16 convolutions are wrong where kernels have more frames than maps (torch 2.15).
        clips = source(16, 32) if name in IN_16_32 else source()
        fit([Training(config, 3, clips, folder / f"{name}.safetensors")], CPU, ranks=ranks)
    folder.with_name(f"{folder.name}-drawn").write_text(str(torch.initial_seed()))


def normalise(path: Path, ranks: Ranks) -> None:
    """Batch normalisation of a rank's share of bfloat16 values, and its gradients, to a file each."""
    norm = torch.nn.BatchNorm3d(3)
    ranks.share_norms(norm)
    generator = torch.Generator().manual_seed(0)
    x, weight = (5 + 2 * torch.randn(2, 8, 3, 4, 4, 4, generator=generator)).bfloat16()
    x, weight = (part.chunk(ranks.size)[ranks.number].clone().requires_grad_() for part in (x, weight))
    with torch.autocast("cpu", torch.bfloat16):
        y = norm(x)
    assert y.dtype == torch.bfloat16
    (y * weight).sum().backward()
    save_file({"y": y, "x": x.grad, "mean": norm.running_mean, "variance": norm.running_var}, path)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Of one process, and of each of two."""
    found = [tmp_path_factory.mktemp(name) for name in ("one", "first-of-two", "second-of-two")]
    train(found[0], Ranks())
    normalise(found[0].parent / f"{found[0].name}-norm.safetensors", Ranks())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [
        subprocess.Popen(
            [sys.executable, __file__, str(folder)],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": str(ROOT)},
        )
        for rank, folder in enumerate(found[1:])
    ]
    assert [process.wait(120) for process in ranks] == [0, 0]
    return found


def weights(folder: Path, case: str) -> dict[str, torch.Tensor]:
    return without_prefix("model", load_file(folder / f"{case}.safetensors"))


@pytest.mark.parametrize("case", [case for case in CASES if case != "bf16"])
def test_two_processes_do_what_one_does_with_the_whole_batch(case, folders):
    """Float32 sums in another order: after two epochs weights differ by at most 1e-4 of their size."""
    assert not any(folders[2].iterdir())  # the first writes, alone
    one, two = (weights(folder, case) for folder in folders[:2])
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-4, msg=lambda text, at=name: f"{at}: {text}")


def test_each_process_draws_dropout_of_its_own(folders):
    """The seed of torch's numbers in the last epoch; one for both would drop the same of other clips."""
    drawn = [int(folder.with_name(f"{folder.name}-drawn").read_text()) for folder in folders]
    assert drawn == [epoch_seed(3, CONFIG.max_epochs, rank) for rank in (0, 0, 1)]


def test_shared_norms_of_bfloat16_values(folders):
    """Statistics are float32; values and gradients differ by one step of bfloat16, 2**-7, from those of one process."""
    one, *two = (load_file(folder.parent / f"{folder.name}-norm.safetensors") for folder in folders)
    for name in ("y", "x"):
        both = torch.cat([part[name] for part in two]).float()
        torch.testing.assert_close(both, one[name].float(), rtol=2**-7, atol=2**-12)
    for part in two:
        torch.testing.assert_close(part["mean"], one["mean"], rtol=1e-6, atol=0)
        torch.testing.assert_close(part["variance"], one["variance"], rtol=1e-6, atol=0)


def test_two_processes_in_bf16(folders):
    """Sums in another order round to other bfloat16 values: that moves all weights less far than bfloat16 itself does,
    and the losses by less than 1 %."""

    def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
        return float(sum((one[name].double() - other[name]).square().sum() for name in one)) ** 0.5

    def losses(folder: Path) -> list[float]:
        history = load_state(folder / "bf16.safetensors")[1]["history"]
        return [epoch[name] for epoch in history for name in ("train_loss", "val_loss")]

    exact, one, two = weights(folders[0], "fp32"), weights(folders[0], "bf16"), weights(folders[1], "bf16")
    assert 0 < apart(two, one) < apart(one, exact)
    assert losses(folders[1]) == pytest.approx(losses(folders[0]), rel=0.01)


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

    def weights_of(flipped: bool) -> dict[str, torch.Tensor]:
        own = source()
        if flipped:
            own = SourceData(dataclasses.replace(own.train, clips=own.train.clips[:, :, :, ::-1].copy()), own.val)
        monkeypatch.setattr("benchmark.engine.fit.epoch_flips", lambda seed, epoch, n: np.full(n, flipped, dtype=bool))
        return fit([Training(CONFIG, 3, own)], CPU)[0].weights

    plain, twice_mirrored = weights_of(False), weights_of(True)
    assert all(torch.equal(plain[name], twice_mirrored[name]) for name in plain)
    monkeypatch.setattr("benchmark.engine.fit.epoch_flips", lambda seed, epoch, n: np.ones(n, dtype=bool))
    mirrored = fit([Training(CONFIG, 3, source())], CPU)[0].weights
    assert any(not torch.equal(plain[name], mirrored[name]) for name in plain)


if __name__ == "__main__":
    torch.set_num_threads(1)
    own_folder, own_rank = Path(sys.argv[1]), join_ranks(CPU)
    train(own_folder, own_rank)
    normalise(own_folder.parent / f"{own_folder.name}-norm.safetensors", own_rank)
    leave_ranks()
    # Torch's own threads have aborted a process at its end, after all was done (torch 2.15, seen once).
    sys.stdout.flush()
    os._exit(0)
