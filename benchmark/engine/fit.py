"""The only training loop: every family, any number of models at a time, any device.

The paper's protocol (section 3.2): SGD at a constant rate, the first checkpoint with the highest accuracy on source
validation is kept, training ends when it was not beaten for ``patience`` epochs.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.config import RunConfig
from benchmark.data import SourceData
from benchmark.engine.member import Member, Training, fresh_model
from benchmark.engine.pack import Pack, Tuning
from benchmark.engine.precision import prepare_precision, self_test
from benchmark.engine.ranks import ONE_RANK, Ranks
from benchmark.engine.selection import Epoch, best_epoch
from benchmark.engine.state import copy_of
from benchmark.engine.step import Resident, Steps
from benchmark.evaluation import as_model_input
from benchmark.models import can_stack
from tsgen.common.errors import RacError

# Each separates its random numbers from any other use of the seed.
PERMUTATION_STREAM, DROPOUT_STREAM, FLIP_STREAM = 1, 2, 3


@dataclass(frozen=True)
class Fitted:
    """``weights`` are those of the epoch ``best_epoch``; ``stopped`` is "patience" or "max_epochs"."""

    weights: dict[str, Tensor]
    history: tuple[Epoch, ...]
    best_epoch: int
    stopped: str


@dataclass(frozen=True)
class Watch:
    """What a caller wants to hear, and whether it wants to stop.

    ``on_batch(members)`` after each step; ``on_epoch(number of the training, its history)`` after each epoch;
    ``say`` a line for the user; ``stop()`` true: leave after this epoch.
    """

    on_batch: Callable[[int], None] = lambda members: None
    on_epoch: Callable[[int, list[Epoch]], None] = lambda training, history: None
    say: Callable[[str], None] = lambda line: None
    stop: Callable[[], bool] = lambda: False


NOBODY = Watch()
ALONE = Tuning()


class StoppedError(RacError):
    """The caller's ``stop`` ended a training whose state files hold everything up to the last epoch."""


def fit(
    trainings: Sequence[Training],
    device: torch.device,
    tuning: Tuning = ALONE,
    watch: Watch = NOBODY,
    ranks: Ranks = ONE_RANK,
) -> list[Fitted | RacError]:
    """Train all, at most ``tuning.pack_size`` at a time where models can be stacked; the outcomes in the same order.

    A training whose loss is no longer finite ends with a RacError as its outcome, the others go on. A pack that does
    not fit into the memory of the device is halved. All trainings have one model and protocol. Raises DataError when a
    state file is damaged or belongs to another run, StoppedError when ``watch.stop`` says so. ``ranks``: the processes
    that share each batch; all call this alike, one training at a time, and the first of them writes the state files.
    """
    config = _common_config(trainings)
    if not can_stack(config.model, config.hidden):
        tuning = dataclasses.replace(tuning, pack_size=1)
    prepare_precision(config.precision, device)
    sources = distinct_sources(training.source for training in trainings)
    resident = Resident.of(sources, device)
    if config.precision != "fp32":
        some = as_model_input(resident.val_clips[0, :4].to(device))
        self_test(fresh_model(trainings[0]).to(device), some, config.precision)
    members = [Member.begin(training, device) for training in trainings]
    failures: dict[int, RacError] = {}

    def unfinished() -> list[int]:
        return [n for n, member in enumerate(members) if n not in failures and member.stop_reason is None]

    while numbers := unfinished()[: tuning.pack_size]:
        try:
            together = {number: members[number] for number in numbers}
            failures |= _train_together(together, resident, sources, tuning, watch, ranks)
        except RuntimeError as problem:
            if not _is_out_of_memory(problem):
                raise
            if len(numbers) == 1:
                raise RacError(
                    f"{config.model} with {config.hidden} hidden units does not fit into the memory of the device "
                    f"({problem}); a smaller --batch-size needs less."
                ) from problem
            tuning = dataclasses.replace(tuning, pack_size=len(numbers) // 2)
            watch.say(f"out of memory with {len(numbers)} models at a time: going on with {tuning.pack_size}")
            torch.cuda.empty_cache()
    return [failures.get(number) or _fitted(member) for number, member in enumerate(members)]


def epoch_order(seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    """The permutation of n training clips for this epoch; the same on every device and in every NumPy version."""
    # NumPy keeps the raw words of a bit generator stable over versions, Generator.permutation it does not.
    words = np.random.Philox(key=[seed, PERMUTATION_STREAM], counter=[0, 0, 0, epoch]).random_raw(n)
    return np.argsort(words, kind="stable")


def epoch_flips(seed: int, epoch: int, n: int) -> NDArray[np.bool_]:
    """Which of n training clips are mirrored in this epoch, each with probability 1/2."""
    words = np.random.Philox(key=[seed, FLIP_STREAM], counter=[0, 0, 0, epoch]).random_raw(n)
    return np.asarray(words >> np.uint64(63), dtype=bool)


def epoch_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """Of torch's random numbers in this epoch: each rank draws others, as each has other clips."""
    return int(np.random.Philox(key=[seed, DROPOUT_STREAM], counter=[0, 0, rank, epoch]).random_raw()) >> 1


def _is_out_of_memory(problem: Exception) -> bool:
    """CUDA has a class for it, the CPU's allocator only a text."""
    return isinstance(problem, torch.OutOfMemoryError) or "can't allocate memory" in str(problem)


def _train_together(
    members: dict[int, Member],
    resident: Resident,
    sources: Sequence[SourceData],
    tuning: Tuning,
    watch: Watch,
    ranks: Ranks,
) -> dict[int, RacError]:
    """Epochs of all members side by side, until one of them is finished or fails; the failures."""
    first = next(iter(members.values()))
    device, config = resident.val_labels.device, first.training.config
    pack = Pack([member.model() for member in members.values()], device, tuning)
    pack.share_norms(ranks)
    kept = [member.optimizer for member in members.values()]
    steps = Steps(pack, kept, config, resident, [sources.index(m.training.source) for m in members.values()], ranks)
    num_clips, num_val = resident.train_clips.shape[1], resident.val_clips.shape[1]
    failures: dict[int, RacError] = {}
    while not failures and all(member.stop_reason is None for member in members.values()):
        started = time.perf_counter()
        epochs = [len(member.history) + 1 for member in members.values()]
        # Dropout: the same whatever was trained before, and after a resume. Models that draw train one at a time.
        torch.manual_seed(epoch_seed(first.training.seed, epochs[0], ranks.number))
        orders = [
            epoch_order(member.training.seed, epoch, num_clips)
            for member, epoch in zip(members.values(), epochs, strict=True)
        ]
        flips = [
            epoch_flips(member.training.seed, epoch, num_clips)[order]
            for member, epoch, order in zip(members.values(), epochs, orders, strict=True)
            if config.flips
        ]
        losses = steps.train_epoch(orders, lambda: watch.on_batch(len(members)), flips)
        val_losses, val_hits = steps.validate()
        losses = losses.double().cpu()  # here the host waits for the device, once an epoch
        seconds = (time.perf_counter() - started) / len(members)
        for place, (number, member) in enumerate(members.items()):
            metrics = Epoch(
                epoch=epochs[place],
                train_loss=float(losses[:, place].mean()),
                val_loss=float(val_losses[place]),
                val_accuracy=int(val_hits[place]) / num_val,
                seconds=round(seconds, 3),
            )
            problem = _not_finite(metrics, losses[:, place], member.training)
            if problem is not None:
                failures[number] = problem
                continue
            member.finish_epoch(
                metrics,
                copy_of(pack.weights_of(place)),
                copy_of(steps.updates.state(place)),
                write=ranks.is_first,
            )
            watch.on_epoch(number, member.history)
        if watch.stop() and any(member.stop_reason is None for member in members.values()):
            raise StoppedError("stopped after an epoch, as asked; the state files hold everything up to it.")
    return failures


def _fitted(member: Member) -> Fitted:
    assert member.stop_reason is not None
    return Fitted(member.best_weights, tuple(member.history), best_epoch(member.history), member.stop_reason)


def _not_finite(metrics: Epoch, losses: Tensor, training: Training) -> RacError | None:
    if math.isfinite(metrics.train_loss) and math.isfinite(metrics.val_loss):
        return None
    bad = torch.nonzero(~torch.isfinite(losses))
    where = f"batch {int(bad[0]) + 1} of {len(losses)}" if len(bad) else "validation"
    kept = f"; the state after epoch {metrics.epoch - 1} is kept in {training.state_path}" if metrics.epoch > 1 else ""
    return RacError(
        f"seed {training.seed}: the loss is not finite in epoch {metrics.epoch}, {where} (train {metrics.train_loss}, "
        f"validation {metrics.val_loss}){kept if training.state_path else ''}. A lower learning rate may help."
    )


def _common_config(trainings: Sequence[Training]) -> RunConfig:
    """That of the first; ValueError unless the others differ in seeds and source only."""
    first = trainings[0].config
    for training in trainings:
        alike = dataclasses.replace(training.config, seeds=first.seeds, source=first.source)
        if alike != first:
            raise ValueError(f"trainings of one pack differ in {first.differences(training.config)}")
    return first


def distinct_sources(sources: Iterable[SourceData]) -> list[SourceData]:
    found: list[SourceData] = []
    for source in sources:
        if not any(source is one for one in found):
            found.append(source)
    return found
