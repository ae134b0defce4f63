"""How to train on this device: how many models at a time, and with which kernels. Measured where it is not known."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmark.engine.fit import distinct_sources, epoch_order
from benchmark.engine.member import Training, fresh_model
from benchmark.engine.pack import Pack, Tuning
from benchmark.engine.precision import prepare_precision
from benchmark.engine.step import Resident, Steps
from benchmark.models import can_stack
from benchmark.models.specs import TEMPORAL_SHAPE
from tsgen.common.errors import UsageError

PROBE_BATCHES = 4


def check_pack(wanted: str) -> None:
    if wanted != "auto" and not (wanted.isdecimal() and int(wanted) >= 1):
        raise UsageError(f"pack {wanted!r} is not possible; allowed: auto, or how many models train together.")


def tune(
    wanted: str, trainings: Sequence[Training], device: torch.device, say: Callable[[str], None] = lambda line: None
) -> Tuning:
    """``wanted`` "auto", or how many models train together.

    On a CPU nothing is tried, and "auto" is one: cores are better filled by processes, and a training alone gives the
    same bits whatever else is trained. On a GPU a short trial of each candidate decides.
    """
    check_pack(wanted)
    prepare_precision(trainings[0].config.precision, device)
    sizes = [1, len(trainings)] if wanted == "auto" else [min(int(wanted), len(trainings))]
    config = trainings[0].config
    if not can_stack(config.model, config.hidden):
        sizes = [1]
    if device.type == "cpu":
        return Tuning(sizes[0])
    candidates = [Tuning(size) for size in dict.fromkeys(sizes)]
    if 1 in sizes and can_use_triton(fresh_model(trainings[0]), trainings[0].config.precision, device, say):
        candidates.append(Tuning(1, "triton"))
    rates = {tuning: models_per_second(trainings[: tuning.pack_size], device, tuning) for tuning in candidates}
    for tuning, rate in rates.items():
        say(f"{tuning}: {rate:.1f} training steps a second, summed over models")
    return max(candidates, key=rates.__getitem__)


def can_use_triton(model: nn.Module, precision: str, device: torch.device, say: Callable[[str], None]) -> bool:
    """Whether the fused ConvLSTM kernel compiles here and computes the same as the plain recurrence, in every layer."""
    if not hasattr(model, "recurrence"):
        return False
    from benchmark.models.recurrence_triton import agrees, available

    if (reason := available()) is not None:
        say(f"no fused ConvLSTM kernel: {reason}")
        return False
    spec: Any = model.spec
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    try:
        good = all(
            agrees(h, k, TEMPORAL_SHAPE.height >> layer, device, dtype)  # each layer's pool halves the frame
            for layer, (h, k) in enumerate(zip(spec.channels, spec.kernels, strict=True))
        )
    except Exception as problem:  # whatever a compiler or driver raises, there is another way
        say(f"no fused ConvLSTM kernel: {problem}")
        return False
    if not good:
        say("no fused ConvLSTM kernel: it computes something else on this device")
    return good


def models_per_second(trainings: Sequence[Training], device: torch.device, tuning: Tuning, rounds: int = 2) -> float:
    """Training steps a second, summed over the models; 0 where they do not fit into the memory of the device."""
    config = trainings[0].config
    sources = distinct_sources(training.source for training in trainings)
    resident = Resident.of(sources, device, PROBE_BATCHES * config.batch_size)
    pack = Pack([fresh_model(training) for training in trainings], device, tuning)
    steps = Steps(pack, [{} for _ in trainings], config, resident, [sources.index(t.source) for t in trainings])
    orders = [epoch_order(training.seed, 1, resident.train_clips.shape[1]) for training in trainings]
    flips = [np.zeros(len(order), dtype=bool) for order in orders]
    best = float("inf")
    try:
        for round_number in range(rounds + 1):
            begun = time.perf_counter()
            steps.train_epoch(orders, lambda: None, flips).cpu()  # waits for the device
            if round_number:  # the first one warms up, or records the graph
                best = min(best, time.perf_counter() - begun)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
    return len(trainings) * steps.num_batches / best
