"""What a trained model said about every clip of a domain, beside the truth; and its HDF5 file in a run directory.

Submissions hold the same without the labels: :mod:`benchmark.submission.answers`.
"""

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
TOP = 5


@dataclass(frozen=True, eq=False)
class Predictions:
    """clip_id int64 (N,), label int64 (N,), and the answers of one seed on one domain and split.

    The answers are either logits float32 (N, C) or top5 int64 (N, min(5, C)): distinct class ids, the best first.
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
    logits: NDArray[np.float32] | None = None
    top5: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        where = f"predictions of seed {self.seed} on {self.domain}"
        n, classes = len(self.clip_id), len(self.class_names)
        if n == 0 or self.clip_id.shape != (n,) or self.label.shape != (n,):
            raise DataError(f"{where}: clip_id {self.clip_id.shape} and label {self.label.shape} are not both (N,).")
        answers = self.top5 if self.logits is None else self.logits
        if answers is None or (self.logits is not None and self.top5 is not None):
            raise DataError(f"{where}: expected either logits or top5.")
        name, columns, kind = ("top5", min(TOP, classes), "int64")
        if self.logits is not None:
            name, columns, kind = ("logits", classes, "float32")
        if answers.shape != (n, columns):
            raise DataError(f"{where}: {name} are {answers.shape}; expected {(n, columns)} for {classes} classes.")
        types = [str(column.dtype) for column in (self.clip_id, self.label, answers)]
        if types != ["int64", "int64", kind]:
            raise DataError(f"{where}: types are {', '.join(types)}; expected int64, int64, {kind}.")
        if len(np.unique(self.clip_id)) != n:
            raise DataError(f"{where}: a clip_id occurs twice.")
        if not 0 <= self.label.min() <= self.label.max() < classes:
            raise DataError(f"{where}: labels outside 0..{classes - 1}.")
        if self.logits is not None and not np.isfinite(self.logits).all():
            raise DataError(f"{where}: logits contain NaN or infinity.")
        if self.top5 is not None and not is_ranking(self.top5, classes):
            raise DataError(f"{where}: a row of top5 repeats a class, or names one outside 0..{classes - 1}.")

    @property
    def ranked(self) -> NDArray[np.int64]:
        """Class ids, the best first; of equal logits the smaller id. int64 (N, min(5, C))."""
        if self.logits is None:
            assert self.top5 is not None
            return self.top5
        order = np.argsort(-self.logits, axis=1, kind="stable")
        return np.asarray(order[:, :TOP], dtype=np.int64)

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The class with the largest logit, of equal ones the first. int64 (N,)."""
        if self.logits is None:
            return self.ranked[:, 0]
        return np.asarray(self.logits.argmax(axis=1), dtype=np.int64)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """bool (N,): :attr:`predicted` is the label."""
        return np.asarray(self.predicted == self.label)

    @property
    def correct_in_top5(self) -> NDArray[np.bool_] | None:
        """bool (N,): the label is among the best five. None with five classes or fewer: it would always be."""
        if len(self.class_names) <= TOP:
            return None
        return np.asarray((self.ranked == self.label[:, None]).any(axis=1))


def is_ranking(top5: NDArray[np.int64], num_classes: int) -> bool:
    """Each row of ``top5`` (N, K) holds K different class ids below ``num_classes``."""
    ordered = np.sort(top5, axis=1)
    return bool(((ordered >= 0) & (ordered < num_classes)).all() and (ordered[:, 1:] != ordered[:, :-1]).all())


def predictions_path(directory: Path, seed: int, domain: str) -> Path:
    """Where they lie in a run directory, and the answers in a submission."""
    return directory / "predictions" / f"seed{seed}" / f"{domain}.h5"


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Of a run, hence with logits."""
    if predictions.logits is None:
        raise ValueError("a run directory keeps logits")
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
