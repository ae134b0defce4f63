"""The answer key of one domain and split as a JSON file, for clips that tsgen did not make, like those of Diving48.

An object with ``format``, ``schema_version``, ``domain``, ``split``, ``content_hash`` (64 hex digits, the name of this
version of the data), ``class_names`` and, one value a clip, ``clip_id`` (whole numbers), ``label`` (places in
``class_names``) and, where clips have names, ``clip_name``. The format comes first: so it is found in a folder.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.config import VIDEO_SOURCE
from benchmark.predictions import FORMAT as PREDICTIONS
from benchmark.predictions import read_predictions
from benchmark.submission.answers import MAX_EXAMPLES, AnswerKey
from benchmark.submission.fields import Fields, Kind, is_list, is_text, is_whole
from benchmark.submission.layout import SCHEMA_VERSION, Problem, parse_json, shown
from benchmark.submission.record import CONTENT_HASH, DOMAIN, MAX_CLIPS, MAX_NAME_CHARS, SPLIT
from diving48_domains.vocabulary import DIVE_CLASSES
from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import write_text_atomic
from tsgen.common.h5guard import SIGNATURE, open_guarded, reading

FORMAT = "rac-bench-answer-key"
STORE = "d48dom-frames"
PACKED = "pack"  # "kind" in the settings of stores of `d48dom pack`
MAX_KEY_BYTES = 64 << 20
MAX_CLASSES = 10_000
MAX_ID = 2**63 - 1
MAX_LINES = 100
HEAD_BYTES = 4096
DIVE_NAMES = tuple("_".join(dive) for dive in DIVE_CLASSES)

_CLIPS = f"1..{MAX_CLIPS}"
_FIELDS: dict[str, Kind] = {
    "domain": DOMAIN,
    "split": SPLIT,
    "content_hash": CONTENT_HASH,
    "class_names": Kind(
        f"a list of 2..{MAX_CLASSES} names, each a line of 1..{MAX_NAME_CHARS} printable characters",
        lambda v: is_list(v, 2, MAX_CLASSES, _is_name),
    ),
    "clip_id": Kind(
        f"a list of {_CLIPS} whole numbers from 0 to 2**63-1",
        lambda v: is_list(v, 1, MAX_CLIPS, lambda one: is_whole(one, 0, MAX_ID)),
    ),
    "label": Kind(
        f"a list of {_CLIPS} whole numbers from 0 to the number of classes - 1",
        lambda v: is_list(v, 1, MAX_CLIPS, lambda one: is_whole(one, 0, MAX_CLASSES - 1)),
    ),
}
_OPTIONAL: dict[str, Kind] = {
    "clip_name": Kind(
        f"null, or a list of {_CLIPS} names, each a line of 1..{MAX_NAME_CHARS} printable characters",
        lambda v: v is None or is_list(v, 1, MAX_CLIPS, _is_name),
    ),
    "digits_source": Kind("null or a name", lambda v: v is None or _is_name(v)),
    "digits_sha256": Kind("null or a name", lambda v: v is None or _is_name(v)),
}


def _is_name(value: Any) -> bool:
    return is_text(value, MAX_NAME_CHARS)


def id_of_name(name: str) -> int:
    """The ``clip_id`` of a clip that has a name: 63 bits of its SHA-256, the same in every list and domain."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


def is_key_file(path: Path) -> bool:
    """Whether a file of a folder says near its beginning that it is a key. Nothing else of it is read."""
    with path.open("rb") as handle:
        head = handle.read(HEAD_BYTES)
    return FORMAT.encode() in head and not head.startswith(SIGNATURE)


def read_key(path: Path) -> AnswerKey:
    """Of a file that may come from anywhere. DataError naming everything that is wrong with it."""
    problems: list[Problem] = []
    value = _read_json(path, "an answer key")
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise DataError(f'{path} is no answer key: it must hold "format": "{FORMAT}". `rac-bench key` writes one.')
    version = value.get("schema_version")
    if type(version) is not int or version != SCHEMA_VERSION:
        raise DataError(f"{path} has schema version {shown(version)}; this rac-bench reads {SCHEMA_VERSION}.")
    fields = Fields({k: v for k, v in value.items() if k not in ("format", "schema_version")}, "", problems, str(path))
    taken = {name: fields.take(name, kind) for name, kind in _FIELDS.items()}
    taken |= {name: fields.take(name, kind, default=None) for name, kind in _OPTIONAL.items()}
    fields.finish()
    texts = [problem.text for problem in problems] + _what_does_not_fit(taken)
    _raise_all(path, texts)
    names = taken.pop("clip_name")
    return AnswerKey(
        **{name: taken[name] for name in ("domain", "split", "content_hash", "digits_source", "digits_sha256")},
        class_names=tuple(taken["class_names"]),
        clip_id=np.array(taken["clip_id"], dtype=np.int64),
        label=np.array(taken["label"], dtype=np.int64),
        clip_name=None if names is None else tuple(names),
    )


def write_key(path: Path, key: AnswerKey) -> None:
    """A field a line, columns of clips each on one: long lists stay small, and equal keys are equal bytes."""
    value = {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "domain": key.domain,
        "split": key.split,
        "content_hash": key.content_hash,
        "class_names": list(key.class_names),
        "digits_source": key.digits_source,
        "digits_sha256": key.digits_sha256,
        "clip_id": key.clip_id.tolist(),
        "label": key.label.tolist(),
        "clip_name": None if key.clip_name is None else list(key.clip_name),
    }
    write_text_atomic(path, "{\n" + ",\n".join(f'"{k}": {json.dumps(v)}' for k, v in value.items()) + "\n}\n")


def key_from(path: Path, domain: str | None, split: str | None, content_hash: str | None = None) -> AnswerKey:
    """From any file with labels: a clip file of tsgen, a run's predictions, another key, a store of frames (d48dom), or
    a list of Diving48 V2.

    The first three say themselves what they are of; UsageError where ``domain`` or ``split`` say otherwise. A list
    needs both; of a store they may be given, as V of plain frames. The validation clips of ``d48dom pack`` are V's
    without. DataError naming everything that is wrong.
    """
    kind = _kind_of(path)
    if kind == "list":
        if domain is None or split is None:
            raise UsageError(f"{path} is a list of clips; say with --domain and --split what it is the key of.")
        return key_of_list(path, domain, split, content_hash)
    key = _key_of_store(path, domain, split) if kind == STORE else _READERS[kind](path)
    for name, asked, found in (("domain", domain, key.domain), ("split", split, key.split)):
        if asked not in (None, found):
            raise UsageError(f"{path} is of {name} {shown(found)}, not {shown(asked)}; leave --{name} out.")
    if content_hash not in (None, key.content_hash):
        raise UsageError(f"{path} has content hash {key.content_hash}; leave --content-hash out.")
    return key


def key_of_list(path: Path, domain: str, split: str, content_hash: str | None = None) -> AnswerKey:
    """A list as Diving48's V2: ``[{"vid_name": ..., "label": 0..47, ...}, ...]`` (section 3.3).

    ``content_hash``: that of the frames, where they have one; None: SHA-256 of domain, split, names and labels.
    """
    for name, given, kind in (("domain", domain, DOMAIN), ("split", split, SPLIT)):
        if not kind.holds(given):
            raise UsageError(f"--{name} {shown(given)} is not possible; it must be {kind.allowed}.")
    if content_hash is not None and not CONTENT_HASH.holds(content_hash):
        raise UsageError(f"--content-hash {shown(content_hash)} is not possible; it must be {CONTENT_HASH.allowed}.")
    value = _read_json(path, "a list of clips")
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_CLIPS:
        raise DataError(f'{path} is no list of {_CLIPS} clips like {{"vid_name": "x_00001", "label": 15, ...}}.')
    texts = []
    names: list[str] = []
    labels: list[int] = []
    for place, each in enumerate(value):
        entry: dict[str, Any] = each if isinstance(each, dict) else {}
        video, label = entry.get("vid_name"), entry.get("label")
        if not _is_name(video):
            texts.append(f"entry {place} has vid_name {shown(video)}; it must be a line of printable characters.")
        elif not is_whole(label, 0, len(DIVE_NAMES) - 1):
            texts.append(f"entry {place} ({video}) has label {shown(label)}; it must be 0..{len(DIVE_NAMES) - 1}.")
        else:
            names.append(str(video))
            labels.append(label or 0)
    _raise_all(path, texts + _repeats("vid_name", names))
    digest = hashlib.sha256(
        json.dumps([FORMAT, domain, split, DIVE_NAMES, names, labels], separators=(",", ":")).encode()
    ).hexdigest()
    return _key_of_names(domain, split, names, labels, content_hash or digest)


def _kind_of(path: Path) -> str:
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give one file of it, like {path / 'val.h5'}.")
    if not path.is_file():
        return STORE  # it may be in shards
    with path.open("rb") as handle:
        is_hdf5 = handle.read(len(SIGNATURE)) == SIGNATURE
    if not is_hdf5:
        return FORMAT if is_key_file(path) else "list"
    with open_guarded(path) as file, reading(path):
        kind = str(file.attrs.get("format"))
    return kind if kind in (STORE, PREDICTIONS) else "clips"


def _key_of_store(path: Path, domain: str | None, split: str | None) -> AnswerKey:
    from benchmark.video_data import class_names
    from diving48_domains.framestore import open_store

    store = open_store(path)
    said: dict[str, Any] = dict(store.settings)
    if said.get("kind") == PACKED:
        # The domain of a packed store is the name of its list; the validation clips are those of the source.
        said["domain"] = VIDEO_SOURCE if said.get("split") == "val" and split in (None, "val") else None
    found = []
    for name, given, kind in (("domain", domain, DOMAIN), ("split", split, SPLIT)):
        value = said.get(name) if given is None else given  # V's frames are those of a plain domain
        if not kind.holds(value):
            has = f"does not say its {name}" if value is None else f"has {name} {shown(value)}"
            raise UsageError(f"{path} {has}; give --{name}, {kind.allowed}.")
        found.append(str(value))
    classes, labels = class_names(store.settings), store.labels.tolist()
    beyond = sorted({label for label in labels if not 0 <= label < len(classes)})
    if beyond:
        raise DataError(f"{path} has label {beyond[0]}; its classes are 0..{len(classes) - 1}. Build it again.")
    return _key_of_names(found[0], found[1], list(store.ids), labels, store.content_hash, classes)


def _key_of_names(
    domain: str,
    split: str,
    names: list[str],
    labels: list[int],
    content_hash: str,
    class_names: tuple[str, ...] = DIVE_NAMES,
) -> AnswerKey:
    return AnswerKey(
        domain=domain,
        split=split,
        class_names=class_names,
        content_hash=content_hash,
        clip_id=np.array([id_of_name(name) for name in names], dtype=np.int64),
        label=np.array(labels, dtype=np.int64),
        clip_name=tuple(names),
    )


def _key_of_predictions(path: Path) -> AnswerKey:
    from benchmark.submission.write import key_of

    return key_of(read_predictions(path))


def _key_of_clips(path: Path) -> AnswerKey:
    from benchmark.submission.truth import key_of_clips

    return key_of_clips(path)


_READERS: dict[str, Callable[[Path], AnswerKey]] = {
    FORMAT: read_key,
    PREDICTIONS: _key_of_predictions,
    "clips": _key_of_clips,
}
"""Kind of file -> how it is read; :func:`key_of_list` and stores need to be told more."""


def _read_json(path: Path, what: str) -> Any:
    size = path.stat().st_size
    if size > MAX_KEY_BYTES:
        raise DataError(f"{path} has {size} bytes; {what} may have {MAX_KEY_BYTES}.")
    try:
        return parse_json(path.read_bytes())
    except DataError as problem:
        raise DataError(f"{path} {problem}") from None


def _what_does_not_fit(taken: dict[str, Any]) -> list[str]:
    """Between fields that are fine by themselves; those that are not are None."""
    classes, ids, label, names = (taken[name] for name in ("class_names", "clip_id", "label", "clip_name"))
    texts = []
    for name, column in (("label", label), ("clip_name", names)):
        if ids is not None and column is not None and len(column) != len(ids):
            texts.append(f"{name} has {len(column)} values for {len(ids)} clips; give one a clip.")
    texts += _repeats("clip_id", ids) + _repeats("clip_name", names) + _repeats("class_names", classes)
    if classes is not None and label is not None:
        beyond = [place for place, one in enumerate(label) if one >= len(classes)]
        if beyond:
            few = ", ".join(f"{label[place]} at {place}" for place in beyond[:MAX_EXAMPLES])
            texts.append(f"label names classes beyond 0..{len(classes) - 1}: {few}{_more(beyond)}.")
    return texts


def _repeats(name: str, values: Sequence[Any] | None) -> list[str]:
    twice = [value for value, count in Counter(values or ()).items() if count > 1]
    return [f"{name} repeats {', '.join(map(shown, twice[:MAX_EXAMPLES]))}{_more(twice)}."] if twice else []


def _more(found: Sequence[Any]) -> str:
    return f" and {len(found) - MAX_EXAMPLES} more" if len(found) > MAX_EXAMPLES else ""


def _raise_all(path: Path, texts: Sequence[str]) -> None:
    if not texts:
        return
    lines = [*texts[:MAX_LINES], *([f"and {len(texts) - MAX_LINES} more."] if len(texts) > MAX_LINES else [])]
    if len(lines) == 1:
        raise DataError(f"{path}: {lines[0]}")
    raise DataError(f"{path}: {len(texts)} problems:" + "".join(f"\n  {line}" for line in lines))
