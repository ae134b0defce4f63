"""Train one model on one source domain with one seed. The only training loop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmark.config import RunConfig
from benchmark.data import Clips, SourceData
from benchmark.engine.selection import Epoch, best_epoch, stop_reason
from benchmark.engine.state import copy_of, load_state, save_state, with_prefix, without_prefix
from benchmark.evaluation import as_model_input, logits_of
from benchmark.models import build_model
from tsgen.common.errors import DataError, RacError

PERMUTATION_STREAM = 1  # separates these random numbers from any other use of the seed


@dataclass
class Training:
    """Everything that an interrupted training needs to go on: it is what the state file holds."""

    model: nn.Module
    optimizer: torch.optim.SGD
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    history: list[Epoch] = field(default_factory=list)


@dataclass(frozen=True)
class Fitted:
    """``weights`` are those of the epoch ``best_epoch``; ``stopped`` is "patience" or "max_epochs"."""

    weights: dict[str, Tensor]
    history: tuple[Epoch, ...]
    best_epoch: int
    stopped: str


def fit(
    config: RunConfig,
    seed: int,
    source: SourceData,
    device: torch.device,
    state_path: Path | None = None,
    on_batch: Callable[[], None] = lambda: None,
    on_epoch: Callable[[list[Epoch]], None] = lambda history: None,
) -> Fitted:
    """Train until ``stop_reason``; go on from ``state_path`` if it exists, and leave the state there after each epoch.

    Raises TypeError for data that is not source data, RacError when the loss is no longer finite (the state of the
    last good epoch stays), DataError when the state belongs to another run.
    """
    if not isinstance(source, SourceData):
        raise TypeError(f"fit takes SourceData, not {type(source).__name__}: targets play no part in training")
    belongs_to = _identity(config, seed, source)
    train_clips, train_labels = _on_device(source.train, device)
    val_clips, val_labels = _on_device(source.val, device)
    training = _begin(config, seed, len(source.train.class_names), device)
    if state_path is not None and state_path.exists():
        _restore(training, state_path, belongs_to)
    while (reason := stop_reason(training.history, config.max_epochs, config.patience)) is None:
        epoch, started = len(training.history) + 1, time.perf_counter()
        order = torch.from_numpy(epoch_order(seed, epoch, len(train_clips))).to(device)
        train_loss = _train_epoch(training, train_clips, train_labels, order, config.batch_size, on_batch)
        val_logits = logits_of(training.model, val_clips)
        val_loss = F.cross_entropy(val_logits, val_labels)
        val_hits = (val_logits.argmax(dim=1) == val_labels).sum()
        metrics = Epoch(
            epoch=epoch,
            train_loss=float(train_loss),
            val_loss=float(val_loss),
            val_accuracy=int(val_hits) / len(val_labels),
            seconds=round(time.perf_counter() - started, 3),
        )
        _check_finite(metrics, seed, state_path)
        training.history.append(metrics)
        if best_epoch(training.history) == epoch:
            training.best_weights = copy_of(training.model.state_dict())
        if state_path is not None:
            _save(training, state_path, belongs_to)
        on_epoch(training.history)
    return Fitted(training.best_weights, tuple(training.history), best_epoch(training.history), reason)


def epoch_order(seed: int, epoch: int, n: int) -> NDArray[np.int64]:
    """The permutation of n training clips for this epoch; the same on every device and in every NumPy version."""
    # NumPy keeps the raw words of a bit generator stable over versions, Generator.permutation it does not.
    words = np.random.Philox(key=[seed, PERMUTATION_STREAM], counter=[0, 0, 0, epoch]).random_raw(n)
    return np.argsort(words, kind="stable")


def _train_epoch(
    training: Training, clips: Tensor, labels: Tensor, order: Tensor, batch_size: int, on_batch: Callable[[], None]
) -> Tensor:
    """Mean loss over the batches, still on the device: nothing in here waits for it."""
    training.model.train()
    total = torch.zeros((), dtype=torch.float64, device=clips.device)
    num_batches = len(order) // batch_size  # the last incomplete batch is dropped, as in the paper
    for batch in torch.split(order[: num_batches * batch_size], batch_size):
        training.optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(training.model(as_model_input(clips[batch])), labels[batch])
        loss.backward()  # type: ignore[no-untyped-call]
        training.optimizer.step()
        total += loss.detach()
        on_batch()
    return total / num_batches


def _on_device(clips: Clips, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(clips.clips).to(device), torch.from_numpy(clips.labels).to(device)


def _begin(config: RunConfig, seed: int, num_classes: int, device: torch.device) -> Training:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # weights are drawn on the CPU: the same on every device
        model = build_model(config.model, config.hidden, num_classes).to(device)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
    )
    return Training(model, optimizer)


def _check_finite(metrics: Epoch, seed: int, state_path: Path | None) -> None:
    if math.isfinite(metrics.train_loss) and math.isfinite(metrics.val_loss):
        return
    kept = f"; the state after epoch {metrics.epoch - 1} is kept in {state_path}" if state_path else ""
    raise RacError(
        f"seed {seed}: the loss is not finite in epoch {metrics.epoch} (train {metrics.train_loss}, "
        f"validation {metrics.val_loss}){kept}. A lower learning rate may help."
    )


def _identity(config: RunConfig, seed: int, source: SourceData) -> dict[str, Any]:
    settings = {name: value for name, value in config.to_json().items() if name not in ("seeds", "n_target", "preset")}
    hashes = [source.train.facts.content_hash, source.val.facts.content_hash]
    return {"config": settings, "seed": seed, "source_content_hashes": hashes}


def _save(training: Training, path: Path, belongs_to: dict[str, Any]) -> None:
    momentum = {
        name: training.optimizer.state[parameter]["momentum_buffer"]
        for name, parameter in training.model.named_parameters()
        if training.optimizer.state[parameter].get("momentum_buffer") is not None
    }
    tensors = {
        **with_prefix("model", training.model.state_dict()),
        **with_prefix("momentum", momentum),
        **with_prefix("best", training.best_weights),
    }
    save_state(path, tensors, {"belongs_to": belongs_to, "history": [asdict(epoch) for epoch in training.history]})


def _restore(training: Training, path: Path, belongs_to: dict[str, Any]) -> None:
    tensors, facts = load_state(path)
    if facts.get("belongs_to") != belongs_to:
        raise DataError(f"{path} belongs to another run (config, seed or data differ); give another --out.")
    try:
        training.model.load_state_dict(without_prefix("model", tensors))
        training.history = [Epoch(**epoch) for epoch in facts["history"]]
    except (RuntimeError, KeyError, TypeError) as problem:
        raise DataError(f"{path} is damaged: {problem}") from problem
    training.best_weights = without_prefix("best", tensors)
    momentum = without_prefix("momentum", tensors)
    for name, parameter in training.model.named_parameters():
        if name in momentum:  # in the parameter's memory layout, as SGD itself would have it
            buffer = torch.empty_like(parameter).copy_(momentum[name])
            training.optimizer.state[parameter]["momentum_buffer"] = buffer.detach()
