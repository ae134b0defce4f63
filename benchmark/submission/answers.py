"""The answers of one seed on one domain: an HDF5 file without labels, joined with the truth when it is read.

Datasets: ``clip_id`` int64 (N,) in any order, or the names of clips that have some as text of fixed length (N,); and
either ``logits`` float32 (N, C) or ``top5`` int (N, min(5, C)), the ids of the best classes, the best first.
Attributes: ``format``, ``schema_version``, ``domain``, ``seed``. Attributes of one element and texts of fixed length
are read as well, and either order of bytes, as R, MATLAB and Java write them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from benchmark.predictions import TOP, Predictions, is_ranking
from benchmark.submission.layout import FORMAT, MAX_FILE_BYTES, SCHEMA_VERSION, shown
from tsgen.common.errors import DataError
from tsgen.common.files import atomic_path
from tsgen.common.h5guard import open_guarded, reading
from tsgen.common.h5write import create_hdf5

CLIP_ID, LOGITS, TOP5 = "clip_id", "logits", "top5"
MAX_EXAMPLES = 3


@dataclass(frozen=True, eq=False)
class AnswerKey:
    """The truth of one domain and split: clip_id int64 (N,) without repeats, label int64 (N,).

    ``clip_name``: N different names, where clips have such; answers may name clips by them.
    """

    domain: str
    split: str
    class_names: tuple[str, ...]
    content_hash: str
    clip_id: NDArray[np.int64]
    label: NDArray[np.int64]
    digits_source: str | None = None
    digits_sha256: str | None = None
    clip_name: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.clip_id)


def write_answers(
    path: Path,
    seed: int,
    domain: str,
    clip_id: NDArray[np.int64],
    logits: NDArray[np.float32] | None = None,
    top5: NDArray[np.int64] | None = None,
) -> None:
    """Either of ``logits`` and ``top5``; see the head of this module."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial, create_hdf5(partial) as (file, _):
        file[CLIP_ID] = clip_id
        if logits is not None:
            file[LOGITS] = logits
        if top5 is not None:
            file[TOP5] = top5
        file.attrs.update({"format": FORMAT, "schema_version": SCHEMA_VERSION, "domain": domain, "seed": seed})


def read_answers(path: Path, seed: int, domain: str, key: AnswerKey | None) -> tuple[Predictions | None, list[str]]:
    """The answers joined with the truth, or None and everything that is wrong with the file.

    Without a key only what can be told without one is checked.
    """
    problems: list[str] = []
    try:
        with open_guarded(path) as file, reading(path):
            _check_attributes(file.attrs, seed, domain, problems)
            clip_id, answers = _read_datasets(file, key, problems)
    except DataError as problem:
        # The file is named by whoever prints this; where it lies on this machine is of no interest to the submitter.
        return None, [*problems, f"{str(problem).removeprefix(str(path)).lstrip(': ')} Write the file again."]
    order = None if clip_id is None else _order(clip_id, key, problems)
    if answers is not None:
        _check_answers(answers, key, problems)
    if problems or key is None or order is None or answers is None:
        return None, problems
    is_top5 = answers.dtype.kind != "f"
    return Predictions(
        domain=domain,
        split=key.split,
        seed=seed,
        class_names=key.class_names,
        content_hash=key.content_hash,
        digits_source=key.digits_source,
        digits_sha256=key.digits_sha256,
        clip_id=key.clip_id,
        label=key.label,
        logits=None if is_top5 else answers[order].astype(np.float32),
        top5=answers[order].astype(np.int64) if is_top5 else None,
    ), []


def _check_attributes(attributes: h5py.AttributeManager, seed: int, domain: str, problems: list[str]) -> None:
    expected = {"format": FORMAT, "schema_version": SCHEMA_VERSION, "seed": seed, "domain": domain}
    for name, value in expected.items():
        found = _plain(attributes.get(name))
        if found is None:
            problems.append(f"has no attribute {name}; set it to {value}.")
        elif found != value or isinstance(found, bool):
            problems.append(f"says {name} {shown(found)}; expected {value}: is it in the wrong place?")


def _plain(value: Any) -> Any:
    """An attribute as other languages write it: one element of an array, bytes, a NumPy number."""
    if isinstance(value, np.ndarray):
        if value.size != 1:
            return value.tolist() if value.size <= MAX_EXAMPLES else f"{value.size} values"
        value = value.reshape(-1)[0]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.item() if isinstance(value, np.generic) else value


def _read_datasets(
    file: h5py.File, key: AnswerKey | None, problems: list[str]
) -> tuple[NDArray[np.int64] | None, NDArray[Any] | None]:
    """clip_id and the answers, each None when it cannot be used. Shapes are compared before anything is read."""
    strange = sorted(set(file) - {CLIP_ID, LOGITS, TOP5})
    if strange:
        more = " Labels have no place in a submission." if "label" in strange or "labels" in strange else ""
        problems.append(f"holds {', '.join(map(shown, strange[:MAX_EXAMPLES]))}; remove it.{more}")
    clip_id = answers = None
    ids = file.get(CLIP_ID)
    if not isinstance(ids, h5py.Dataset):
        problems.append(f"has no dataset {CLIP_ID}; add the id of each clip, int64 (N,).")
    elif ids.dtype.kind not in "iuS" or ids.ndim != 1:
        problems.append(f"{CLIP_ID} is {ids.dtype} {ids.shape}; expected int64 (N,), or text of fixed length.")
    elif ids.dtype == np.uint64:
        problems.append(f"{CLIP_ID} is uint64; write int64.")
    elif ids.nbytes > MAX_FILE_BYTES:  # deflated, a small file may claim that
        problems.append(f"{CLIP_ID} has {ids.nbytes} bytes; allowed are {MAX_FILE_BYTES}.")
    elif key is not None and len(ids) > 2 * len(key):
        problems.append(f"has {len(ids)} clips; there are {len(key)}: answer each once.")
    elif ids.dtype.kind == "S":
        clip_id = _ids_of_names(ids, key, problems)
    else:
        clip_id = ids[...].astype(np.int64)
    n = None if not isinstance(ids, h5py.Dataset) or ids.ndim != 1 else len(ids)
    given = [name for name in (LOGITS, TOP5) if isinstance(file.get(name), h5py.Dataset)]
    if len(given) != 1:
        problems.append(f"has {' and '.join(given) or 'no answers'}; give exactly one of {LOGITS} and {TOP5}.")
    elif _has_shape(file[given[0]], given[0], n, key, problems):
        answers = file[given[0]][...]
    return clip_id, answers


def _ids_of_names(names: h5py.Dataset, key: AnswerKey | None, problems: list[str]) -> NDArray[np.int64] | None:
    """int64 (N,): the ids of clips given by name; None where there is a name that the key has not."""
    if key is None:
        return None
    if key.clip_name is None:
        problems.append(f"{CLIP_ID} holds names, but the clips of {key.domain} have numbers; write int64 (N,).")
        return None
    of_name = dict(zip(key.clip_name, key.clip_id.tolist(), strict=True))
    given = [name.decode("utf-8", "replace") for name in names[...].tolist()]
    unknown = [shown(name) for name in given if name not in of_name]
    if unknown:
        problems.append(f"answers {_some(unknown, CLIP_ID)} unknown to {key.domain} {key.split}; remove them.")
        return None
    return np.array([of_name[name] for name in given], dtype=np.int64)


def _has_shape(dataset: h5py.Dataset, name: str, n: int | None, key: AnswerKey | None, problems: list[str]) -> bool:
    fits = dataset.dtype.newbyteorder("=") == np.float32 if name == LOGITS else dataset.dtype.kind in "iu"
    if not fits:
        problems.append(f"{name} is {dataset.dtype}; write {'float32' if name == LOGITS else 'int64'}.")
    if dataset.nbytes > MAX_FILE_BYTES:
        problems.append(f"{name} has {dataset.nbytes} bytes; allowed are {MAX_FILE_BYTES}.")
        return False
    columns = "C" if key is None else len(key.class_names) if name == LOGITS else min(TOP, len(key.class_names))
    shape = dataset.shape
    is_right = len(shape) == 2 and n in (None, shape[0]) and columns in ("C", shape[1])
    if not is_right:
        hint = " It looks transposed: the clips come first." if shape == (columns, n) else ""
        classes = "" if key is None else f", of {len(key.class_names)} classes"
        problems.append(f"{name} is {shape}; expected ({'N' if n is None else n}, {columns}){classes}.{hint}")
    return fits and is_right


def _check_answers(answers: NDArray[Any], key: AnswerKey | None, problems: list[str]) -> None:
    if answers.dtype.kind == "f":
        bad = np.flatnonzero(~np.isfinite(answers).all(axis=1))
        if len(bad):
            problems.append(f"{LOGITS} are NaN or infinite in {_rows(bad)}; every answer must be a finite number.")
        return
    classes = np.iinfo(np.int64).max if key is None else len(key.class_names)
    if answers.dtype == np.uint64 or not is_ranking(answers.astype(np.int64), classes):
        allowed = "" if key is None else f" from 0 to {classes - 1}"
        problems.append(f"a row of {TOP5} repeats a class or names none of ours; give different ids{allowed}.")


def _order(clip_id: NDArray[np.int64], key: AnswerKey | None, problems: list[str]) -> NDArray[np.int64] | None:
    """For each clip of the key its row in the file, int64 (N,); None when they do not correspond one to one."""
    if key is not None and np.array_equal(clip_id, key.clip_id):  # as most are
        return np.arange(len(clip_id))
    unique, first, counts = np.unique(clip_id, return_index=True, return_counts=True)
    before = len(problems)
    if len(unique) != len(clip_id):
        problems.append(f"answers {_ids(unique[counts > 1])} more than once; answer each clip once.")
    if key is None:
        return None
    unknown, missing = np.setdiff1d(unique, key.clip_id), np.setdiff1d(key.clip_id, unique)
    if len(unknown):
        problems.append(f"answers {_ids(unknown)} unknown to {key.domain} {key.split}; remove them.")
    if len(missing):
        problems.append(f"misses {_ids(missing)} of {key.domain} {key.split}; answer every clip.")
    if len(problems) > before:
        return None
    return np.asarray(first[np.searchsorted(unique, key.clip_id)], dtype=np.int64)


def _ids(values: NDArray[np.int64]) -> str:
    return _some(values.tolist(), "clip_id")


def _rows(values: NDArray[np.int64]) -> str:
    return _some(values.tolist(), "row")


def _some(values: Sequence[object], what: str) -> str:
    few = ", ".join(map(str, values[:MAX_EXAMPLES]))
    rest = len(values) - MAX_EXAMPLES
    return f"{what}{'s' * (len(values) > 1)} {few}{f' and {rest} more' if rest > 0 else ''}"
