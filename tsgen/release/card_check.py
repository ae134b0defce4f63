"""Checks of a release's card against its files, which the Hub and its client leave out.

:mod:`tsgen.common.hub.card` checks what can be seen in the text. Every problem is told, none is raised.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from tsgen.common.cards import block_names, split_card
from tsgen.common.errors import DataError
from tsgen.common.hub import card as hub_card
from tsgen.common.hub.card import size_category

CARD_FILE = "README.md"
TASKS = ("video-classification", "image-segmentation", "object-detection")
"""Of the Hub's task categories, those that data of this project is for."""

STORED_AS = {"string": "bytes", "image": "bytes"}
"""Types in dataset_info -> in a file, where they differ."""


def check_card(folder: Path | str) -> list[str]:
    """What is wrong with the card of a release folder: its front matter by itself, and against the files it names.

    Empty: nothing. Files are opened through the guard for foreign HDF5; their pixels are not read.
    """
    folder = Path(folder)
    try:
        text = (folder / CARD_FILE).read_text(encoding="utf-8")
        block_names(text)
        yaml_text, _ = split_card(text)
    except (OSError, UnicodeDecodeError, DataError) as problem:
        return [f"{CARD_FILE}: {problem}"]
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    problems = hub_card.check_card(text, files)
    if problems:
        return problems
    try:
        facts = yaml.safe_load(yaml_text)
        return [*check_facts(facts), *_check_paths(facts, files)] or list(_check_files(folder, facts))
    except (KeyError, TypeError, AttributeError, ValueError) as problem:
        return [f"the front matter is not shaped as that of a release: {problem!r}"]


def check_facts(facts: Mapping[str, Any]) -> list[str]:
    """Problems of a front matter in what its parts say of each other."""
    return [*_check_words(facts), *_check_splits(facts)]


def _check_words(facts: Mapping[str, Any]) -> Iterator[str]:
    for name in ("pretty_name", "license", "tags", "task_categories", "size_categories"):
        if not facts.get(name):
            yield f"{name} is missing."
    foreign = set(facts.get("task_categories") or ()) - set(TASKS)
    if foreign:
        yield f"task_categories has {', '.join(sorted(foreign))}; allowed: {', '.join(TASKS)}."
    has_other = "other" in _listed(facts.get("license"))
    for name in ("license_name", "license_link"):
        if has_other != bool(facts.get(name)):
            yield f"{name} is for license 'other' and needed there; license is {facts.get('license')}."


def _check_splits(facts: Mapping[str, Any]) -> Iterator[str]:
    configs, infos = facts.get("configs", []), facts.get("dataset_info", [])
    names, told = [config["config_name"] for config in configs], [info["config_name"] for info in infos]
    if names != told:
        yield f"configs are {', '.join(names)}, but dataset_info tells of {', '.join(told)}."
    if configs and sum(config.get("default") is True for config in configs) != 1:
        yield "exactly one config must be the default."
    files = _data_files(facts)
    if len({path for _, _, path in files}) < len(files):
        yield "a file is in two splits."
    readers = {PurePosixPath(path).suffix for _, _, path in files}
    if len(readers) > 1:
        yield f"configs have files of {', '.join(sorted(readers))}; `datasets` takes one reader for all of them."
    for info in infos:
        listed = dict.fromkeys(split for name, split, _ in files if name == info["config_name"])
        if list(listed) != [split["name"] for split in info["splits"]]:
            yield f"config {info['config_name']}: dataset_info has other splits than configs."
    rows = sum(split["num_examples"] for info in infos for split in info["splits"])
    if infos and facts.get("size_categories") != [size_category(rows)]:
        yield f"size_categories is {facts.get('size_categories')}, but {rows} rows are {size_category(rows)}."


def _check_paths(facts: Mapping[str, Any], files: set[str]) -> Iterator[str]:
    for name, split, path in _data_files(facts):
        if path not in files:
            yield f"config {name}, split {split}: {path!r} is no plain path of a file in the folder."


def _check_files(folder: Path, facts: Mapping[str, Any]) -> Iterator[str]:
    """Features and numbers of rows in dataset_info against what the files hold."""
    from tsgen.common.h5guard import open_guarded

    infos = {info["config_name"]: info for info in facts.get("dataset_info", [])}
    found: dict[tuple[str, str], int] = {}
    for name, split, path in _data_files(facts):
        try:
            with open_guarded(folder / path) as file:
                problems = list(_check_file(path, file, infos[name]["features"]))
                yield from problems
                rows = 0 if problems else len(next(iter(file.values())))
        except DataError as problem:
            yield str(problem)
            rows = 0
        found[name, split] = found.get((name, split), 0) + rows
    for (name, split), rows in found.items():
        told = {each["name"]: each["num_examples"] for each in infos[name]["splits"]}[split]
        if rows != told:
            yield f"config {name}, split {split}: {rows} rows; dataset_info has {told}."


def _check_file(path: str, file: Any, features: list[dict[str, Any]]) -> Iterator[str]:
    told = {feature["name"]: feature for feature in features}
    if set(told) != set(file):
        yield f"{path} has the columns {', '.join(sorted(file))}; dataset_info has {', '.join(sorted(told))}."
        return
    if len({len(file[column]) for column in told}) > 1:
        yield f"{path}: its columns have different numbers of rows."
    for column, feature in told.items():
        dataset = file[column]
        kind = "bytes" if dataset.dtype.kind == "S" else dataset.dtype.name
        dtype, shape, names = _type_of(feature)
        if names is not None and names != [str(word) for word in file.attrs.get("class_names", [])]:
            yield f"{path}, {column}: its classes are not {', '.join(names)}."
        if dtype is not None and (dtype, shape) != (kind, dataset.shape[1:]):
            yield f"{path}, {column}: {kind} {dataset.shape[1:]}; dataset_info has {dtype} {shape}."


def _type_of(feature: Mapping[str, Any]) -> tuple[str | None, tuple[int, ...], list[str] | None]:
    """dtype (None: class ids, of any whole type), shape of a row, names of the classes of class ids."""
    if "list" in feature:
        return feature["list"], (feature["length"],), None
    if isinstance(feature["dtype"], str):
        return STORED_AS.get(feature["dtype"], feature["dtype"]), (), None
    ((kind, facts),) = feature["dtype"].items()
    if kind == "class_label":
        return None, (), [facts["names"][key] for key in sorted(facts["names"], key=int)]
    return facts["dtype"], tuple(facts["shape"]), None


def _data_files(facts: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(config, split, path) of every file that the front matter names; a split has a path or several."""
    return [
        (config["config_name"], entry["split"], path)
        for config in facts.get("configs", [])
        for entry in config["data_files"]
        for path in _listed(entry["path"])
    ]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
