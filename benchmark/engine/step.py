"""The steps of an epoch, for a pack of any size on any device: nothing in here waits for the device.

Clips stay on the device as uint8; a step finds its clips through a table of all batches of the epoch and writes its
loss into another one, so that it has no inputs and can be replayed as a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from benchmark.config import RunConfig
from benchmark.data import Clips, SourceData
from benchmark.engine.graph import capture
from benchmark.engine.pack import Pack
from benchmark.engine.precision import autocast
from benchmark.evaluation import BATCH_SIZE, as_model_input
from benchmark.models import is_outside


@dataclass(frozen=True)
class Resident:
    """Train and validation clips of one or two source domains on the device.

    ``clips`` uint8 (S, N, T, H, W), ``labels`` int64 (S, N).
    """

    train_clips: Tensor
    train_labels: Tensor
    val_clips: Tensor
    val_labels: Tensor

    @classmethod
    def of(cls, sources: Sequence[SourceData], device: torch.device, most: int | None = None) -> Resident:
        """All clips, or the first ``most`` of each split."""

        def clips(parts: Sequence[Clips]) -> Tensor:
            return _together([torch.from_numpy(part.clips[:most]) for part in parts], device)

        def labels(parts: Sequence[Clips]) -> Tensor:
            return _together([torch.from_numpy(part.labels[:most]) for part in parts], device)

        train, val = [source.train for source in sources], [source.val for source in sources]
        return cls(clips(train), labels(train), clips(val), labels(val))


def _together(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    return tensors[0].to(device)[None] if len(tensors) == 1 else torch.stack([tensor.to(device) for tensor in tensors])


class Steps:
    """Training and validation of a pack. ``sources``: which of the resident domains each member trains on."""

    def __init__(
        self,
        pack: Pack,
        momentum: Sequence[dict[str, Tensor]],
        config: RunConfig,
        resident: Resident,
        sources: Sequence[int],
    ) -> None:
        self._pack, self._config, self._resident = pack, config, resident
        device = self._device = resident.train_clips.device
        self._source = torch.tensor(sources, device=device)[:, None]  # (E, 1), against (E, B)
        self._single = sources[0] if len(set(sources)) == 1 else None
        self.momentum = {name: torch.zeros_like(parameter.detach()) for name, parameter in pack.parameters.items()}
        for member, buffers in enumerate(momentum):
            for name, buffer in buffers.items():
                pack.slice(self.momentum[name], member).copy_(buffer)
        self._optimizer = torch.optim.SGD(
            list(pack.parameters.values()),
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )
        for name, parameter in pack.parameters.items():
            self._optimizer.state[parameter]["momentum_buffer"] = self.momentum[name]
        self.num_batches = resident.train_clips.shape[1] // config.batch_size  # the last incomplete one is dropped
        table = (self.num_batches, pack.size, config.batch_size)
        self._batches = torch.zeros(table, dtype=torch.int64, device=device)
        self._losses = torch.zeros(table[:2], device=device)
        self._place = torch.zeros(1, dtype=torch.int64, device=device)
        self._replay: Callable[[], None] | None = None

    def train_epoch(self, orders: Sequence[NDArray[np.int64]], on_batch: Callable[[], None]) -> Tensor:
        """One pass; ``orders`` of the clips, one a member. Losses (batches, E), still on the device."""
        E, B = self._pack.size, self._config.batch_size
        batches = np.stack([order[: self.num_batches * B].reshape(self.num_batches, B) for order in orders], axis=1)
        self._batches.copy_(torch.from_numpy(batches))
        self._place.zero_()
        self._pack.train()
        step = self._step
        if self._device.type == "cuda" and not is_outside(self._config.model):  # those may wait for the host
            if self._replay is None:
                changes = [*self._pack.parameters.values(), *self._pack.buffers.values(), *self.momentum.values()]
                self._replay = capture(self._step, [*changes, self._place, self._losses])
            step = self._replay
        for _ in range(self.num_batches):
            step()
            on_batch()
        return self._losses.reshape(self.num_batches, E)

    def _step(self) -> None:
        index = self._batches.index_select(0, self._place)[0]  # (E, B)
        labels = self._take(self._resident.train_labels, index)
        self._optimizer.zero_grad(set_to_none=True)
        with autocast(self._config.precision, self._device):
            logits = self._pack.logits(self._input(self._resident.train_clips, index))
        losses = cross_entropy(logits, labels)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._losses.index_copy_(0, self._place, losses.detach()[None])
        self._place.add_(1).remainder_(self.num_batches)  # the runs that warm a graph up may pass the end

    @torch.no_grad()
    def validate(self) -> tuple[Tensor, Tensor]:
        """Loss and number of hits of each member on its source validation clips: (E,), (E,), on the device."""
        self._pack.train(False)
        labels = self._resident.val_labels[self._source[:, 0]]
        parts = []
        for some in torch.split(torch.arange(labels.shape[1], device=self._device), BATCH_SIZE):
            with autocast(self._config.precision, self._device):
                index = some.expand(self._pack.size, -1)
                parts.append(self._pack.logits(self._input(self._resident.val_clips, index)).float())
        logits = torch.cat(parts, dim=1)
        return cross_entropy(logits, labels), (logits.argmax(dim=2) == labels).sum(dim=1)

    def _input(self, clips: Tensor, index: Tensor) -> Tensor:
        """Clips (S, N, T, H, W) at (E, B) to (E, B, T, 1, H, W) in [0, 1]."""
        taken = self._take(clips, index)
        return as_model_input(taken.flatten(0, 1)).view(*index.shape, -1, 1, *clips.shape[-2:])

    def _take(self, values: Tensor, index: Tensor) -> Tensor:
        """(S, N, ...) at (E, B) to (E, B, ...), each member from its source."""
        if self._single is not None:
            return values[self._single].index_select(0, index.flatten()).view(*index.shape, *values.shape[2:])
        return values[self._source, index]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean loss of each member: (E, B, classes), (E, B) to (E,)."""
    losses = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="none")
    return losses.view(labels.shape).mean(dim=1)
