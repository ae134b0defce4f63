"""The card of a release: ``data_cards/temporal_shape.md`` with front matter and blocks filled from the manifest.

The Hub and ``datasets`` read the front matter: ``configs`` say which file is which split, ``dataset_info`` which column
has which type, so that labels come with their names.

``datasets`` takes one reader for a whole repository, by the files of the first config: all configs are HDF5, the clip
files and, as the config that is the default, so that it is seen first, the film strips of all of them. What is in
Parquet is loaded by its path.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from tsgen.common.cards import fill_blocks, join_card, read_card, split_card
from tsgen.common.errors import DataError, UsageError
from tsgen.common.hub.card import size_category
from tsgen.domains import Domain, get_domain
from tsgen.release.plan import PREVIEW_CLIPS_PER_CLASS, PREVIEW_CONFIG
from tsgen.release.terms import APACHE_URL, terms_of

CARD = "temporal_shape"
PRETTY_NAME = "Temporal Shape"
TASKS = ("video-classification",)
TAGS = ("video", "action-recognition", "domain-generalization", "robustness", "temporal-modeling", "synthetic", "hdf5")
CARD_WIDTH = 120
REPO = "USER/temporal-shape"
"""In the examples; where a release is published is decided after its card is written."""


def render_card(manifest: Mapping[str, Any]) -> str:
    """The card of a release, from its manifest alone: equal manifests give equal bytes.

    ``manifest`` as in ``release.json``. DataError when it names a domain, a profile or a digit source that this version
    does not know.
    """
    _, body = split_card(read_card(CARD))
    return join_card(front_matter(manifest), fill_blocks(body, card_blocks(manifest)))


def front_matter(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What the Hub and ``datasets`` read. Number of rows: of all configs together."""
    configs = manifest["configs"]
    rows = sum(split["n"] + split["preview_rows"] for _, _, split in splits_of(manifest))
    return {
        **terms_of(manifest).front_matter,
        "pretty_name": PRETTY_NAME,
        "task_categories": list(TASKS),
        "tags": list(TAGS),
        "annotations_creators": ["machine-generated"],
        "size_categories": [size_category(rows)],
        "configs": [
            {
                "config_name": PREVIEW_CONFIG,
                "default": True,
                "data_files": [
                    {"split": split, "path": [facts["strips"] for _, facts in parts]}
                    for split, parts in _by_split(manifest).items()
                ],
            },
            *(
                {
                    "config_name": name,
                    "data_files": [
                        {"split": split, "path": facts["file"]} for split, facts in config["splits"].items()
                    ],
                }
                for name, config in configs.items()
            ),
        ],
        "dataset_info": [_preview_info(manifest), *(_dataset_info(name, config) for name, config in configs.items())],
    }


def splits_of(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(config, split, facts) of every clip file of a release, in the manifest's order."""
    for name, config in manifest["configs"].items():
        for split, facts in config["splits"].items():
            yield name, split, facts


def _by_split(manifest: Mapping[str, Any]) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    """Split -> (config, facts) of its clip files."""
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for name, split, facts in splits_of(manifest):
        found.setdefault(split, []).append((name, facts))
    return found


def domain_of(name: str, config: Mapping[str, Any]) -> Domain:
    """The domain a config shows. DataError when this version does not know it."""
    try:
        return get_domain(config["domain"], config["profile"])
    except UsageError as problem:
        raise DataError(f"config {name!r} of the manifest: {problem}") from problem


def card_blocks(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What the blocks of the card hold that depend on the release."""
    return {
        "shown": _shown_line(manifest),
        "release": _release_lines(manifest),
        "example": _example(manifest),
        "preview-example": _preview_example(manifest),
        "index-example": _index_example(manifest),
        "configs": _configs_table(manifest),
        "classes": _classes_table(manifest),
        "files": _files_table(manifest),
        "duplicates": _duplicates_table(manifest),
        "digits": _wrapped(terms_of(manifest).digits),
        "licence": _licence_lines(manifest),
    }


def _preview_info(manifest: Mapping[str, Any]) -> dict[str, Any]:
    from tsgen.release.strips import VIEWER_COLUMNS, pgm_bytes

    def size_bytes(name: str, facts: Mapping[str, Any]) -> int:
        fixed = len(name) + 8 + pgm_bytes(*manifest["configs"][name]["clip_shape"])
        return sum(min(n, PREVIEW_CLIPS_PER_CLASS) * (fixed + len(word)) for word, n in facts["n_of_class"].items())

    return {
        "config_name": PREVIEW_CONFIG,
        "features": [{"name": name, "dtype": kind} for name, (kind, _) in VIEWER_COLUMNS.items()],
        "splits": [
            {
                "name": split,
                "num_bytes": sum(size_bytes(name, facts) for name, facts in parts),
                "num_examples": sum(facts["preview_rows"] for _, facts in parts),
            }
            for split, parts in _by_split(manifest).items()
        ],
    }


def _dataset_info(name: str, config: Mapping[str, Any]) -> dict[str, Any]:
    import numpy as np

    from tsgen.clipfile import CLIPS, COLUMNS

    domain = domain_of(name, config)
    clip_shape = (domain.num_frames, domain.size_px, domain.size_px)
    columns: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {CLIPS: (np.dtype("u1"), clip_shape)}
    columns |= {each: (np.dtype(column.dtype), column.shape(domain.num_frames)) for each, column in COLUMNS.items()}
    row_bytes = sum(dtype.itemsize * math.prod(shape) for dtype, shape in columns.values())
    names = domain.motion_profile.class_names
    splits = config["splits"].items()
    return {
        "config_name": name,
        "features": [
            _class_label(each, names) if each == "labels" else _feature(each, dtype.name, shape)
            for each, (dtype, shape) in columns.items()
        ],
        "splits": [
            {"name": split, "num_bytes": facts["n"] * row_bytes, "num_examples": facts["n"]} for split, facts in splits
        ],
        "download_size": sum(facts["bytes"] for _, facts in splits),
        "dataset_size": sum(facts["n"] for _, facts in splits) * row_bytes,
    }


def _class_label(name: str, class_names: tuple[str, ...]) -> dict[str, Any]:
    return {"name": name, "dtype": {"class_label": {"names": {str(k): word for k, word in enumerate(class_names)}}}}


def _feature(name: str, dtype: str, shape: tuple[int, ...]) -> dict[str, Any]:
    """A column as ``datasets`` writes it: a value, a list of known length, or an array of 2 to 5 axes."""
    if not shape:
        return {"name": name, "dtype": dtype}
    if len(shape) == 1:
        return {"name": name, "list": dtype, "length": shape[0]}
    return {"name": name, "dtype": {f"array{len(shape)}_d": {"shape": list(shape), "dtype": dtype}}}


def _release_lines(manifest: Mapping[str, Any]) -> str:
    clips = sum(facts["n"] for _, _, facts in splits_of(manifest))
    megabytes = sum(facts["bytes"] for _, _, facts in splits_of(manifest)) / 1e6
    configs = len(manifest["configs"])
    text = (
        f"Version {manifest['version']}: {clips} clips in {configs} configs, {megabytes:.1f} MB of HDF5. "
        f"Seed {manifest['seed']}, generator {manifest['generator_version']}, digits: "
        f"{manifest['digits_source'] or 'none'}."
    )
    if not manifest["departures"]:
        return text
    departures = "; ".join(manifest["departures"])
    return f"{text}\n\n" + _wrapped(f"**This build departs from release {manifest['version']}**: {departures}.")


def _shown_line(manifest: Mapping[str, Any]) -> str:
    """The classes, by motion."""
    profiles: dict[tuple[str, ...], dict[str, None]] = {}
    for name, config in manifest["configs"].items():
        domain = domain_of(name, config)
        profiles.setdefault(domain.motion_profile.class_names, {})[f"`{domain.profile}`"] = None
    told = "; ".join(f"in motion {' and '.join(names)}: {', '.join(words)}" for words, names in profiles.items())
    return _wrapped(f"Classes {told}.")


def _example(manifest: Mapping[str, Any]) -> str:
    name, config = next(iter(manifest["configs"].items()))
    domain = domain_of(name, config)
    return _python(
        "from datasets import load_dataset",
        "",
        f'clips = load_dataset("{REPO}", "{name}", split="train", revision="v{manifest["version"]}")',
        f'clips.features["labels"].names  # {list(domain.motion_profile.class_names)}',
        'frames = clips.with_format("numpy", columns=["clips"], dtype="uint8")  # without a dtype they come as int64',
        f'frames[0]["clips"].shape  # {(domain.num_frames, domain.size_px, domain.size_px)}',
    )


def _preview_example(manifest: Mapping[str, Any]) -> str:
    name, config = next(iter(manifest["configs"].items()))
    counts = config["splits"]["train"]["n_of_class"]
    shown = next(word for word in domain_of(name, config).motion_profile.class_names if counts[word])
    return _python(
        f'preview = load_dataset("{REPO}", "{PREVIEW_CONFIG}", split="train", revision="v{manifest["version"]}")',
        f'preview[0]["config"], preview[0]["class_name"]  # {(name, shown)}',
        'preview[0]["strip"]  # a PIL image',
    )


def _index_example(manifest: Mapping[str, Any]) -> str:
    path = list(manifest["configs"].values())[-1]["splits"]["train"]["index"]
    return _python(
        f'folder = "hf://datasets/{REPO}@v{manifest["version"]}"',
        f'index = load_dataset("parquet", data_files=f"{{folder}}/{path}", split="train")',
    )


def _python(*lines: str) -> str:
    return "\n".join(["```python", *lines, "```"])


def _duplicates_table(manifest: Mapping[str, Any]) -> str:
    """Configs in which nothing occurs twice share the last line."""
    lines = ["| config | clips that occur twice in one split | test clips in train | validation clips in train |"]
    lines.append("|---|---|---|---|")
    clean = []
    for name, found in manifest["audit"].items():
        repeated, paths = found["repeated_in"], found["shared_paths"]
        if not any(repeated.values()) and not any(paths.values()):
            clean.append(f"`{name}`")
            continue
        told = ", ".join(f"{split} {n}" for split, n in repeated.items())
        shared = [
            f"{found['shared_frames'][pair]} by pixels, {paths[pair]} by path"
            for pair in ("test in train", "val in train")
        ]
        lines.append(f"| `{name}` | {told} | {' | '.join(shared)} |")
    if clean:
        lines.append(f"| {', '.join(clean)} | none | none | none |")
    return "\n".join(lines)


def _configs_table(manifest: Mapping[str, Any]) -> str:
    names = list(dict.fromkeys(split for _, split, _ in splits_of(manifest)))
    lines = [
        f"| config | entity | background | motion | {' | '.join(names)} |",
        f"|---|---|---|---|{'---:|' * len(names)}",
    ]
    for name, config in manifest["configs"].items():
        domain = domain_of(name, config)
        entity = f"{'digit' if domain.has_digits else 'white square'}, {domain.width_px} px"
        noise = f"Perlin noise, {domain.sigma_low} to {domain.sigma_high} cells across the frame, new in every frame"
        counts = [str(config["splits"][split]["n"]) if split in config["splits"] else "-" for split in names]
        background = noise if domain.has_noise else "black"
        lines.append(f"| `{name}` | {entity} | {background} | `{domain.profile}` | {' | '.join(counts)} |")
    return "\n".join(lines)


def _classes_table(manifest: Mapping[str, Any]) -> str:
    """Clips a class; configs of the same classes and counts share a line."""
    lines: dict[tuple[str, ...], list[str]] = {}
    for name, config in manifest["configs"].items():
        classes = domain_of(name, config).motion_profile.class_names
        for split, facts in config["splits"].items():
            # Counts by name: that order is the class ids', whatever the order in the file.
            told = ", ".join(f"{word} {facts['n_of_class'][word]}" for word in classes)
            lines.setdefault((split, told), []).append(f"`{name}`")
    rows = [f"| {', '.join(names)} | {split} | {told} |" for (split, told), names in lines.items()]
    return "\n".join(["| configs | split | clips of each class, by class id |", "|---|---|---|", *rows])


def _files_table(manifest: Mapping[str, Any]) -> str:
    lines = ["| file | clips | bytes | content hash |", "|---|---:|---:|---|"]
    for _, _, facts in splits_of(manifest):
        lines.append(f"| `{facts['file']}` | {facts['n']} | {facts['bytes']} | `{facts['content_hash'][:16]}` |")
    return "\n".join(lines)


def _licence_lines(manifest: Mapping[str, Any]) -> str:
    text = f"Clips, annotations and previews: [Apache-2.0]({APACHE_URL}), the file [LICENSE](LICENSE). "
    return _wrapped(text + terms_of(manifest).digits)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, CARD_WIDTH, break_long_words=False, break_on_hyphens=False)
