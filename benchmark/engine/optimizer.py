"""The optimizers: how each is made for a pack, and what it keeps of a member, as tensors by name for state files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.config import RunConfig
from benchmark.engine.pack import Pack


@dataclass(frozen=True)
class Rule:
    """``slots``: name in state files -> torch's name of a tensor that it keeps for each parameter.

    ``stacked``: one update of the stacked parameters serves all members, because it depends on their values alone.
    """

    make: Callable[[Iterable[Tensor], RunConfig, torch.device], torch.optim.Optimizer]
    slots: dict[str, str]
    stacked: bool


def _sgd(parameters: Iterable[Tensor], config: RunConfig, device: torch.device) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        parameters, lr=config.learning_rate, momentum=config.momentum, weight_decay=config.weight_decay
    )


def _adam(parameters: Iterable[Tensor], config: RunConfig, device: torch.device) -> torch.optim.Optimizer:
    # capturable: the number of steps is counted on the device, where a CUDA graph can go on counting.
    return torch.optim.Adam(
        parameters,
        lr=config.learning_rate,
        betas=(0.9, 0.999),
        weight_decay=config.weight_decay,
        capturable=device.type == "cuda",
    )


RULES: dict[str, Rule] = {
    "sgd": Rule(_sgd, {"momentum": "momentum_buffer"}, stacked=True),
    # Members of a pack may have begun at different epochs, so that each has a number of steps of its own.
    "adam": Rule(_adam, {slot: slot for slot in ("exp_avg", "exp_avg_sq", "step")}, stacked=False),
}
"""Optimizer of a RunConfig -> rule. Both add weight_decay * weight to the gradient (L2)."""


class Updates:
    """The optimizer of a pack. ``kept``: of each member what :meth:`state` gave after its last epoch, {} when fresh."""

    def __init__(self, pack: Pack, config: RunConfig, kept: Sequence[dict[str, Tensor]]) -> None:
        rule = RULES[config.optimizer]
        self._pack, self._stacked, self._slots = pack, rule.stacked, rule.slots
        parameters = pack.parameters
        device = next(iter(parameters.values())).device
        # Of each member its parameters as leaves that share the memory of the stacked ones.
        self._own = [
            {} if rule.stacked else {name: pack.slice(p.detach(), member) for name, p in parameters.items()}
            for member in range(pack.size)
        ]
        leaves = list(parameters.values()) if rule.stacked else [p for own in self._own for p in own.values()]
        self._optimizer = rule.make(leaves, config, device)
        for leaf in leaves:
            for slot in rule.slots.values():
                self._optimizer.state[leaf][slot] = _fresh(slot, leaf.detach())
        for member, stored in enumerate(kept):
            state = self.state(member)
            for name, tensor in stored.items():
                state[name].copy_(tensor)

    def zero_grad(self) -> None:
        for parameter in self._pack.parameters.values():
            parameter.grad = None

    def step(self) -> None:
        """From the gradients of the pack's parameters."""
        for member, own in enumerate(self._own):
            for name, leaf in own.items():
                gradient = self._pack.parameters[name].grad
                leaf.grad = None if gradient is None else self._pack.slice(gradient, member)
        self._optimizer.step()

    def state(self, member: int) -> dict[str, Tensor]:
        """``slot.parameter`` -> what is kept of a member: views of tensors that go on changing."""
        return {
            f"{ours}.{name}": self._of_member(name, member, slot)
            for ours, slot in self._slots.items()
            for name in self._pack.parameters
        }

    def tensors(self) -> list[Tensor]:
        """Every tensor that a step changes besides the parameters."""
        return [tensor for state in self._optimizer.state.values() for tensor in state.values()]

    def _of_member(self, name: str, member: int, slot: str) -> Tensor:
        state = self._optimizer.state
        if self._stacked:
            tensor: Tensor = self._pack.slice(state[self._pack.parameters[name]][slot], member)
        else:
            tensor = state[self._own[member][name]][slot]
        return tensor


def _fresh(slot: str, parameter: Tensor) -> Tensor:
    """As torch begins: it counts steps on the host, unless a CUDA graph must."""
    if slot == "step":
        return torch.zeros((), dtype=torch.float32, device=parameter.device if parameter.is_cuda else "cpu")
    return torch.zeros_like(parameter)


def state_in(tensors: dict[str, Tensor], optimizer: str) -> dict[str, Tensor]:
    """Of the tensors of a state file those that :meth:`Updates.state` gave."""
    slots = tuple(f"{slot}." for slot in RULES[optimizer].slots)
    return {name: tensor for name, tensor in tensors.items() if name.startswith(slots)}
