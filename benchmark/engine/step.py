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
from benchmark.engine.optimizer import Updates
from benchmark.engine.pack import Pack
from benchmark.engine.precision import autocast
from benchmark.engine.ranks import ONE_RANK, Ranks
from benchmark.evaluation import as_model_input, as_tensor, evaluation_batch
from benchmark.models import is_outside

DEVICE_SHARE = 0.6
"""Of a GPU's free memory that clips may take; the rest is for the activations of a step."""


@dataclass(frozen=True)
class Resident:
    """Train and validation clips of one or two source domains.

    ``clips`` uint8 (S, N, T, H, W[, 3]), on the device, or on the host where they do not fit: then they are read batch
    by batch, from the file if they are memory-mapped. ``labels`` int64 (S, N), on the device.
    """

    train_clips: Tensor
    train_labels: Tensor
    val_clips: Tensor
    val_labels: Tensor

    @classmethod
    def of(cls, sources: Sequence[SourceData], device: torch.device, most: int | None = None) -> Resident:
        """All clips, or the first ``most`` of each split."""

        train, val = [source.train for source in sources], [source.val for source in sources]
        needed = sum(part.clips[:most].nbytes for part in (*train, *val))
        place = device if fits(needed, device) else torch.device("cpu")

        def clips(parts: Sequence[Clips]) -> Tensor:
            return _together([as_tensor(part.clips[:most]) for part in parts], place)

        def labels(parts: Sequence[Clips]) -> Tensor:
            return _together([torch.from_numpy(part.labels[:most]) for part in parts], device)

        return cls(clips(train), labels(train), clips(val), labels(val))


def fits(num_bytes: int, device: torch.device) -> bool:
    """Whether clips of that size may lie on ``device`` and leave room to train."""
    return device.type != "cuda" or num_bytes <= DEVICE_SHARE * torch.cuda.mem_get_info(device)[0]


def _together(tensors: Sequence[Tensor], device: torch.device) -> Tensor:
    return tensors[0].to(device)[None] if len(tensors) == 1 else torch.stack([tensor.to(device) for tensor in tensors])


class Steps:
    """Training and validation of a pack. ``sources``: which of the resident domains each member trains on.

    ``kept``: of each member what ``updates`` kept of it after its last epoch, nothing of a fresh one.
    """

    def __init__(
        self,
        pack: Pack,
        kept: Sequence[dict[str, Tensor]],
        config: RunConfig,
        resident: Resident,
        sources: Sequence[int],
        ranks: Ranks = ONE_RANK,
    ) -> None:
        ranks.check_batch(config.batch_size)
        self._ranks, self._share = ranks, config.batch_size // ranks.size
        self._pack, self._config, self._resident = pack, config, resident
        device = self._device = resident.train_labels.device
        self._source = torch.tensor(sources, device=device)[:, None]  # (E, 1), against (E, B)
        self._single = sources[0] if len(set(sources)) == 1 else None
        self.updates = Updates(pack, config, kept)
        self.num_batches = resident.train_clips.shape[1] // config.batch_size  # the last incomplete one is dropped
        table = (self.num_batches, pack.size, self._share)
        self._batches = torch.zeros(table, dtype=torch.int64, device=device)
        self._flips = torch.zeros(table, dtype=torch.bool, device=device) if config.flips else None
        self._losses = torch.zeros(table[:2], device=device)
        self._place = torch.zeros(1, dtype=torch.int64, device=device)
        self._replay: Callable[[], None] | None = None

    def train_epoch(
        self,
        orders: Sequence[NDArray[np.int64]],
        on_batch: Callable[[], None],
        flips: Sequence[NDArray[np.bool_]] = (),
    ) -> Tensor:
        """One pass; ``orders`` of the clips, one a member. Losses (batches, E), still on the device.

        ``flips``: of each member, which clips of its order are mirrored; none where the protocol does not flip.
        """
        E = self._pack.size
        self._batches.copy_(self._table(orders))
        if self._flips is not None:
            self._flips.copy_(self._table(flips))
        self._place.zero_()
        self._pack.train()
        step = self._step
        # Models from outside may wait for the host; clips that lie there are fetched by it.
        on_device = self._resident.train_clips.device == self._device
        alone = self._ranks.size == 1
        if self._device.type == "cuda" and on_device and alone and not is_outside(self._config.model):
            if self._replay is None:
                changes = [*self._pack.parameters.values(), *self._pack.buffers.values(), *self.updates.tensors()]
                self._replay = capture(self._step, [*changes, self._place, self._losses])
            step = self._replay
        for _ in range(self.num_batches):
            step()
            on_batch()
        losses = self._losses.reshape(self.num_batches, E)
        return losses if alone else self._ranks.sum_(losses / self._ranks.size)

    def _step(self) -> None:
        index = self._batches.index_select(0, self._place)[0]  # (E, B)
        labels = self._take(self._resident.train_labels, index)
        self.updates.zero_grad()
        with autocast(self._config.precision, self._device):
            clips = self._input(self._resident.train_clips, index)
            if self._flips is not None:
                flip = self._flips.index_select(0, self._place)[0]  # (E, B): all frames of a clip or none
                clips = torch.where(flip[..., None, None, None, None], clips.flip(-1), clips)
            logits = self._pack.logits(clips)
        losses = cross_entropy(logits, labels)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        self._ranks.average_gradients(self._pack.parameters.values())
        self.updates.step()
        self._losses.index_copy_(0, self._place, losses.detach()[None])
        self._place.add_(1).remainder_(self.num_batches)  # the runs that warm a graph up may pass the end

    @torch.no_grad()
    def validate(self) -> tuple[Tensor, Tensor]:
        """Loss and number of hits of each member on its source validation clips: (E,), (E,), on the device."""
        self._pack.train(False)
        labels = self._resident.val_labels[self._source[:, 0]]
        E, num_val = labels.shape
        parts = []
        at_once = evaluation_batch(self._resident.val_clips[0])
        mine = torch.arange(self._ranks.number, num_val, self._ranks.size, device=self._device)
        for some in torch.split(mine, at_once):
            with autocast(self._config.precision, self._device):
                index = some.expand(self._pack.size, -1)
                parts.append(self._pack.logits(self._input(self._resident.val_clips, index)).float())
        if self._ranks.size == 1:
            logits = torch.cat(parts, dim=1)
        else:
            logits = torch.zeros(E, num_val, parts[0].shape[-1] if parts else 0, device=self._device)
            logits[:, mine] = torch.cat(parts, dim=1)
            self._ranks.sum_(logits)
        return cross_entropy(logits, labels), (logits.argmax(dim=2) == labels).sum(dim=1)

    def _table(self, rows: Sequence[NDArray[np.generic]]) -> Tensor:
        """Values for each clip in the order of each member to (batches, E, B), of which a rank takes its share."""
        batches, B = self.num_batches, self._config.batch_size
        table = np.stack([row[: batches * B].reshape(batches, B) for row in rows], axis=1)
        first = self._ranks.number * self._share
        return torch.from_numpy(table[:, :, first : first + self._share].copy())

    def _input(self, clips: Tensor, index: Tensor) -> Tensor:
        """Clips (S, N, T, H, W[, 3]) at (E, B) to (E, B, T, C, H, W), as models take them."""
        if clips.device != self._device:
            index = index.to(clips.device)
        taken = self._take(clips, index).to(self._device)
        return torch.unflatten(as_model_input(taken.flatten(0, 1)), 0, index.shape)

    def _take(self, values: Tensor, index: Tensor) -> Tensor:
        """(S, N, ...) at (E, B) to (E, B, ...), each member from its source."""
        if self._single is not None:
            return values[self._single].index_select(0, index.flatten()).view(*index.shape, *values.shape[2:])
        return values[self._source.to(values.device), index]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean loss of each member: (E, B, classes), (E, B) to (E,)."""
    losses = F.cross_entropy(logits.flatten(0, 1).float(), labels.flatten(), reduction="none")
    return losses.view(labels.shape).mean(dim=1)
