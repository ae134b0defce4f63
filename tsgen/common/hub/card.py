"""What the Hub refuses in a dataset card, found before anything is sent. The client's own records take any nonsense."""

from __future__ import annotations

import fnmatch
import itertools
import math
import re
from collections.abc import Collection, Iterator
from typing import Any

import yaml

_LICENCES = (
    "apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m "
    "afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 "
    "cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 "
    "cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 "
    "cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl "
    "gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0 odc-by odbl openrail++ osl-3.0 postgresql "
    "ofl-1.1 ncsa unlicense zlib pddl lgpl-lr unknown other"
)
LICENCES = frozenset(_LICENCES.split())
"""Identifiers of the Hub's documentation that data may have (huggingface.co/docs/hub/repositories-licenses)."""
_STEPS = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")
SIZE_CATEGORIES = ("n<1K", *(f"{low}<n<{high}" for low, high in itertools.pairwise(_STEPS)), "n>1T")
_CONFIG_NAME = re.compile(r"[\w-][\w .-]*")
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]+)*")
_FRONT_MATTER = re.compile(r"\A---\r?\n(.*?\n)---\r?\n", re.DOTALL)


def size_category(rows: int) -> str:
    """The Hub's word for a number of rows, 0 or more."""
    return SIZE_CATEGORIES[min(max(math.floor(math.log10(max(rows, 1))) - 2, 0), len(SIZE_CATEGORIES) - 1)]


def check_card(text: str, files: Collection[str]) -> list[str]:
    """Every reason why the Hub, or ``datasets``, would refuse the card ``text`` of a repo with these ``files``."""
    match = _FRONT_MATTER.match(text)
    if not match:
        return ["README.md does not begin with YAML between two lines '---'"]
    try:
        # A few aliases in one another stand for more text than any computer has.
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(match[1], yaml.SafeLoader)):
            return ["the YAML of README.md uses aliases (*name); write out what they stand for"]
        repeated = list(_repeated_keys(yaml.compose(match[1], yaml.SafeLoader)))
        facts = yaml.safe_load(match[1])
    except (yaml.YAMLError, TypeError, ValueError, RecursionError) as problem:
        return [f"the YAML of README.md cannot be read: {' '.join(str(problem).split())}"]
    if repeated:  # the last one would win here, and the Hub's parser refuses
        return [f"the YAML of README.md has {key!r} twice in one mapping" for key in repeated]
    if not isinstance(facts, dict):
        return ["the YAML of README.md is no mapping"]
    return [*_licence(facts), *_lists(facts), *_configs(facts, files), *_dataset_info(facts)]


def _repeated_keys(node: Any) -> Iterator[str]:
    """Of a parsed YAML document, in whatever depth."""
    if isinstance(node, yaml.MappingNode):
        keys = [str(key.value) for key, _ in node.value]
        yield from sorted({key for key in keys if keys.count(key) > 1})
        for _, value in node.value:
            yield from _repeated_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _repeated_keys(value)


def _licence(facts: dict[Any, Any]) -> Iterator[str]:
    given = facts.get("license")
    names = given if isinstance(given, list) else [given]
    for name in names:
        if not isinstance(name, str) or name not in LICENCES:
            yield f"license {name!r} is not one the Hub knows, as cc-by-4.0, apache-2.0, or other with license_name"
    if "other" in names and not isinstance(facts.get("license_name"), str):
        yield "license other needs license_name"


def _lists(facts: dict[Any, Any]) -> Iterator[str]:
    for key in ("size_categories", "language", "tags", "task_categories", "task_ids", "source_datasets"):
        value = facts.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            yield f"{key} is no list of texts: {value!r}"
        elif key == "size_categories" and not set(value).issubset(SIZE_CATEGORIES):
            yield f"size_categories {value} are not among {', '.join(SIZE_CATEGORIES)}"
        elif key == "language" and not all(_LANGUAGE.fullmatch(item) for item in value):
            yield f"language {value} are no ISO 639 codes"
    if not isinstance(facts.get("pretty_name", ""), str):
        yield "pretty_name is no text"


def _configs(facts: dict[Any, Any], files: Collection[str]) -> Iterator[str]:
    configs = facts.get("configs", [])
    if not isinstance(configs, list) or not all(isinstance(config, dict) for config in configs):
        yield "configs is no list of mappings"
        return
    names = [config.get("config_name") for config in configs]
    for name in names:
        if not isinstance(name, str) or not _CONFIG_NAME.fullmatch(name):
            yield f"config_name {name!r} is no name"
        elif names.count(name) > 1:
            yield f"config {name!r} is there twice"
    if sum(config.get("default") is True for config in configs) > 1:
        yield "more than one config is the default"
    for config in configs:
        for path in _paths(config.get("data_files")):
            if not isinstance(path, str):
                yield f"config {config.get('config_name')!r}: data_files are to be paths, not {path!r}"
            elif not any(fnmatch.fnmatchcase(name, path) for name in files):
                yield f"config {config.get('config_name')!r}: no file of the folder matches {path!r}"


def _paths(data_files: Any) -> Iterator[Any]:
    """Of every way to write them: a path, paths, {split, path}."""
    for entry in data_files if isinstance(data_files, list) else [data_files]:
        value = entry.get("path") if isinstance(entry, dict) else entry
        yield from value if isinstance(value, list) else [value]


def _dataset_info(facts: dict[Any, Any]) -> Iterator[str]:
    infos = facts.get("dataset_info", [])
    infos = [infos] if isinstance(infos, dict) else infos
    if not isinstance(infos, list) or not all(isinstance(info, dict) for info in infos):
        yield "dataset_info is no mapping or list of mappings"
        return
    configs = facts.get("configs")
    known = None
    if configs and isinstance(configs, list):
        known = [config.get("config_name") for config in configs if isinstance(config, dict)]
    for info in infos:
        name = info.get("config_name", "default")
        if known is not None and name not in known:
            yield f"dataset_info of {name!r}: no such config"
        features = info.get("features", [])
        if not isinstance(features, list) or not all(isinstance(f, dict) and "name" in f for f in features):
            yield f"dataset_info of {name!r}: features is no list of named mappings"
