"""Models of one architecture that train together: a single one as it is, several with stacked weights.

An ensemble runs each layer once for all members, which fills a GPU that one small model leaves idle. Members never
meet: each has its weights, its batch statistics and its batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from benchmark.engine.ranks import Ranks


@dataclass(frozen=True)
class Tuning:
    """How a device trains fastest: the greatest size of a pack, and the recurrence of a ConvLSTM that trains alone."""

    pack_size: int = 1
    recurrence: str = "eager"

    def __str__(self) -> str:
        return f"{self.pack_size} at a time, {self.recurrence} kernels"


class Pack:
    """``parameters`` and ``buffers`` by name: those of the model, or of all E with a leading axis (E, ...).

    Takes the models over: they must not be used afterwards.
    """

    def __init__(self, models: Sequence[nn.Module], device: torch.device, tuning: Tuning) -> None:
        self.size = len(models)
        self._model = models[0].to(device)
        model: Any = self._model
        if hasattr(model, "recurrence") and self.size == 1:  # only "eager" has a rule for stacked weights
            model.recurrence = tuning.recurrence
        self._in_state = self._model.state_dict().keys()
        if self.size == 1:
            self.parameters: dict[str, Tensor] = dict(self._model.named_parameters())
            self.buffers: dict[str, Tensor] = dict(self._model.named_buffers())
        else:
            parameters, buffers = stack_module_state([model.to(device) for model in models])
            self.parameters, self.buffers = dict(parameters), dict(buffers)

    def share_norms(self, ranks: Ranks) -> None:
        """Statistics of batches over all processes that train together."""
        if ranks.size > 1 and self.size > 1:
            raise ValueError("several processes train one model at a time, not a pack")
        ranks.share_norms(self._model)

    def train(self, mode: bool = True) -> None:
        self._model.train(mode)

    def logits(self, clips: Tensor) -> Tensor:
        """(E, B, T, C, H, W), the clips of each member, to (E, B, classes)."""
        if self.size == 1:
            logits: Tensor = self._model(clips[0])
            return logits[None]

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], own_clips: Tensor) -> Tensor:
            return functional_call(self._model, (parameters, buffers), (own_clips,))  # type: ignore[no-any-return]

        return vmap(one, randomness="different")(self.parameters, self.buffers, clips)

    def weights_of(self, member: int) -> dict[str, Tensor]:
        """The state dict of one member, views of the tensors that go on training."""
        if self.size == 1:  # tensors that layers share have a name for each of them here
            return {name: tensor.detach() for name, tensor in self._model.state_dict().items()}
        everything = {**self.parameters, **self.buffers}
        return {name: self.slice(everything[name], member).detach() for name in self._in_state}

    def slice(self, tensor: Tensor, member: int) -> Tensor:
        return tensor if self.size == 1 else tensor[member]
