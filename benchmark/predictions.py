"""CONTRACT 3: what a trained model said about every clip of a domain. One HDF5 file per seed and domain, data only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from tsgen.common.errors import DataError
from tsgen.common.files import atomic_path
from tsgen.common.h5guard import open_guarded, reading
from tsgen.common.h5write import create_hdf5

SCHEMA_VERSION = 1
FORMAT = "rac-bench-predictions"


@dataclass(frozen=True, eq=False)
class Predictions:
    """clip_id int64 (N,), label int64 (N,), logits float32 (N, C) of one seed on one domain and split.

    ``content_hash`` is that of the clip file. DataError when anything does not fit together.
    """

    domain: str
    split: str
    seed: int
    class_names: tuple[str, ...]
    content_hash: str
    digits_source: str | None
    digits_sha256: str | None
    clip_id: NDArray[np.int64]
    label: NDArray[np.int64]
    logits: NDArray[np.float32]

    def __post_init__(self) -> None:
        where = f"predictions of seed {self.seed} on {self.domain}"
        n, classes = len(self.clip_id), len(self.class_names)
        if n == 0 or self.clip_id.shape != (n,) or self.label.shape != (n,):
            raise DataError(f"{where}: clip_id {self.clip_id.shape} and label {self.label.shape} are not both (N,).")
        if self.logits.shape != (n, classes):
            raise DataError(f"{where}: logits are {self.logits.shape}; expected {(n, classes)}, one column a class.")
        types = [str(column.dtype) for column in (self.clip_id, self.label, self.logits)]
        if types != ["int64", "int64", "float32"]:
            raise DataError(f"{where}: types are {', '.join(types)}; expected int64, int64, float32.")
        if len(np.unique(self.clip_id)) != n:
            raise DataError(f"{where}: a clip_id occurs twice.")
        if not 0 <= self.label.min() <= self.label.max() < classes:
            raise DataError(f"{where}: labels outside 0..{classes - 1}.")
        if not np.isfinite(self.logits).all():
            raise DataError(f"{where}: logits contain NaN or infinity.")

    @property
    def correct(self) -> NDArray[np.bool_]:
        """bool (N,): the largest logit is that of the label; of equal ones the first counts."""
        return np.asarray(self.logits.argmax(axis=1) == self.label)


def predictions_path(run_dir: Path, seed: int, domain: str) -> Path:
    return run_dir / "predictions" / f"seed{seed}" / f"{domain}.h5"


def write_predictions(path: Path, predictions: Predictions) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial, create_hdf5(partial) as (file, _):
        file["clip_id"] = predictions.clip_id
        file["label"] = predictions.label
        file["logits"] = predictions.logits
        file.attrs.update(
            {
                "format": FORMAT,
                "schema_version": SCHEMA_VERSION,
                "domain": predictions.domain,
                "split": predictions.split,
                "seed": predictions.seed,
                "class_names": list(predictions.class_names),
                "content_hash": predictions.content_hash,
                "digits_source": predictions.digits_source or "",
                "digits_sha256": predictions.digits_sha256 or "",
            }
        )


def read_predictions(path: Path) -> Predictions:
    """Read and check a file that may come from anywhere."""
    with open_guarded(path) as file, reading(path):
        attributes = file.attrs
        if attributes.get("format") != FORMAT:
            raise DataError(f"{path} is not a predictions file: its format is {attributes.get('format')!r}.")
        if attributes.get("schema_version") != SCHEMA_VERSION:
            raise DataError(
                f"{path} has schema version {attributes.get('schema_version')!r}, this rac-bench reads "
                f"{SCHEMA_VERSION}."
            )
        missing = [name for name in ("clip_id", "label", "logits") if not isinstance(file.get(name), h5py.Dataset)]
        if missing:
            raise DataError(f"{path}: datasets missing: {', '.join(missing)}.")
        try:
            return Predictions(
                domain=str(attributes["domain"]),
                split=str(attributes["split"]),
                seed=int(attributes["seed"]),
                class_names=tuple(str(name) for name in attributes["class_names"]),
                content_hash=str(attributes["content_hash"]),
                digits_source=str(attributes["digits_source"]) or None,
                digits_sha256=str(attributes["digits_sha256"]) or None,
                clip_id=file["clip_id"][...],
                label=file["label"][...],
                logits=file["logits"][...],
            )
        except (KeyError, TypeError, ValueError) as problem:
            raise DataError(f"{path}: an attribute is missing or damaged: {problem}") from problem
        except DataError as problem:
            raise DataError(f"{path}: {problem}") from problem
