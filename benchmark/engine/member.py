"""One training among those of a pack: what identifies it, what an interrupted one needs to go on, and its file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.config import RunConfig
from benchmark.data import SourceData
from benchmark.engine.levels import level_name, reached_in
from benchmark.engine.optimizer import state_in
from benchmark.engine.selection import Epoch, best_epoch, stop_reason
from benchmark.engine.state import load_state, save_state, with_prefix, without_prefix
from benchmark.models import build_model
from benchmark.models.specs import ClipShape
from tsgen.common.errors import DataError


@dataclass(frozen=True, eq=False)
class Training:
    """One model, one source domain, one seed; ``state_path`` is written after each epoch and gone on from.

    ``levels``: source validation accuracies; the weights that first reach each are kept beside the state.
    """

    config: RunConfig
    seed: int
    source: SourceData
    state_path: Path | None = None
    levels: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.source, SourceData):
            raise TypeError(f"training takes SourceData, not {type(self.source).__name__}: targets play no part in it")

    @property
    def identity(self) -> dict[str, Any]:
        """What a state must agree on. How many seeds there are and what comes after training does not matter."""
        left_out = ("seeds", "n_target", "preset", "target_domains")
        settings = {name: value for name, value in self.config.to_json().items() if name not in left_out}
        hashes = [self.source.train.facts.content_hash, self.source.val.facts.content_hash]
        return {"config": settings, "seed": self.seed, "source_content_hashes": hashes}


@dataclass
class Member:
    """A training after its last complete epoch. No step changes these tensors: a step that fails leaves them good.

    ``optimizer``: what it keeps of each parameter, by the names of the state file.
    """

    training: Training
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor] = field(default_factory=dict)
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    history: list[Epoch] = field(default_factory=list)

    @classmethod
    def begin(cls, training: Training, device: torch.device) -> Member:
        """Fresh weights, or those of the state file; DataError when that is damaged or of another training."""
        model = fresh_model(training)
        weights = {name: tensor.to(device) for name, tensor in model.state_dict().items()}
        path = training.state_path
        if path is None or not path.exists():
            return cls(training, weights)
        tensors, facts = load_state(path)
        if facts.get("belongs_to") != training.identity:
            raise DataError(f"{path} belongs to another run (config, seed or data differ); give another --out.")
        stored = without_prefix("model", tensors)
        try:
            model.load_state_dict(stored)
            history = [Epoch(**epoch) for epoch in facts["history"]]
        except (RuntimeError, KeyError, TypeError) as problem:
            raise DataError(f"{path} is damaged: {problem}") from problem
        on_device = {name: tensor.to(device) for name, tensor in tensors.items()}
        weights, optimizer = without_prefix("model", on_device), state_in(on_device, training.config.optimizer)
        return cls(training, weights, optimizer, without_prefix("best", on_device) or weights, history)

    @property
    def stop_reason(self) -> str | None:
        return stop_reason(self.history, self.training.config.max_epochs, self.training.config.patience)

    def finish_epoch(
        self, epoch: Epoch, weights: dict[str, Tensor], optimizer: dict[str, Tensor], *, write: bool = True
    ) -> None:
        """Take over the state after an epoch that went well, and write it. The tensors must not change any more."""
        self.history.append(epoch)
        self.weights, self.optimizer = weights, optimizer
        if best_epoch(self.history) == epoch.epoch:
            self.best_weights = weights
        if self.training.state_path is not None and write:
            self._save_levels(self.training.state_path.parent)  # first: a kill in between repeats the epoch
            tensors = {**with_prefix("model", self.weights), **self.optimizer}
            if self.best_weights is not self.weights:  # no tensor may be stored twice
                tensors |= with_prefix("best", self.best_weights)
            facts = {"belongs_to": self.training.identity, "history": [asdict(epoch) for epoch in self.history]}
            save_state(self.training.state_path, tensors, facts)

    def _save_levels(self, folder: Path) -> None:
        config, last = self.training.config, self.history[-1]
        for level in self.training.levels:
            if reached_in(self.history, level) == last.epoch:
                facts = {
                    "model": config.model,
                    "hidden": config.hidden,
                    "seed": self.training.seed,
                    "epoch": last.epoch,
                    "level": level,
                    "val_accuracy": last.val_accuracy,
                }
                save_state(folder / level_name(level), self.weights, facts)

    def model(self) -> nn.Module:
        """A model with the weights as they are now."""
        model = fresh_model(self.training)
        model.load_state_dict(self.weights)
        return model


def fresh_model(training: Training) -> nn.Module:
    """Weights are drawn on the CPU from the seed: the same on every device and in every pack."""
    config = training.config
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        train = training.source.train
        return build_model(config.model, config.hidden, len(train.class_names), ClipShape.of(train.clips.shape))
