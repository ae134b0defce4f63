"""``release.json``: the manifest of a release. Written from what was built, read as from outside.

It holds no dates and no paths of the machine, so two builds of one recipe by the same libraries have equal
manifests; but for ``bytes``, as an HDF5 file can be packed a little tighter or looser (docs/release.md, "Building").
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import tsgen
from tsgen.common.errors import DataError, UsageError
from tsgen.common.licence import LICENCE
from tsgen.digits import PARTITION_OF_SPLIT
from tsgen.recipe import STREAM_VERSION, Recipe
from tsgen.release.contents import Contents, duplicates
from tsgen.release.plan import (
    CONFIGS,
    PART_FILES,
    PREVIEW_CLIPS_PER_CLASS,
    RELEASE_NAME,
    RELEASE_VERSION,
    Plan,
    Recipes,
    clip_file,
    domain_of,
)
from tsgen.release.terms import terms_of
from tsgen.vocabulary import SPLITS

MANIFEST_FILE = "release.json"
SCHEMA_VERSION = 1
MAX_FILE_BYTES = 4 << 20
ABOUT = {
    "splits": "clip i of a split is a function of (seed, domain, split, i): streams that are independent, not disjoint",
    "content_hash": "over the recipe and every value of a clip file; the same however it is stored",
    "recipe_digest": "SHA-256 of the recipe, from which tsgen makes the file again",
    "made_with": "bytes of the files depend on these versions, values and content hashes do not; created_by of Parquet "
    "files names that of pyarrow",
    "repeated_in": "clips that equal an earlier clip of their split in all pixels",
    "shared_frames": "clips of the first split that equal one of the second in all pixels",
    "shared_paths": "clips of the first split whose drawn boxes equal those of one of the second, frame by frame",
}

_TOP: dict[str, type | tuple[type, ...]] = {
    "schema_version": int,
    "name": str,
    "version": str,
    "departures": list,
    "seed": int,
    "generator_version": str,
    "stream_version": int,
    "made_with": dict,
    "digits_source": (str, type(None)),
    "digits_sha256": dict,
    "licenses": dict,
    "configs": dict,
    "audit": dict,
}
_CONFIG: dict[str, type | tuple[type, ...]] = {
    "domain": str,
    "profile": str,
    "class_names": list,
    "clip_shape": list,
    "recipe": dict,
    "splits": dict,
}
_SPLIT: dict[str, type | tuple[type, ...]] = {
    "n": int,
    **dict.fromkeys(PART_FILES, str),
    "preview_rows": int,
    "recipe_digest": str,
    "content_hash": str,
    "bytes": int,
    "n_of_class": dict,
}


def made_with() -> dict[str, str]:
    """Versions of the libraries that the bytes, though not the values, of the files depend on."""
    from importlib.metadata import version

    import h5py

    libraries = {name: version(name) for name in ("numpy", "h5py", "isal", "pillow", "pyarrow")}
    return dict(sorted({**libraries, "hdf5": h5py.version.hdf5_version}.items()))


def manifest_of(folder: Path, plan: Plan, recipes: Recipes, contents: Contents) -> dict[str, Any]:
    """The manifest of the release in ``folder`` whose clip files, all there, hold ``contents``."""
    configs: dict[str, Any] = {}
    for (config, split), recipe in recipes.items():
        domain, content = recipe.domain, contents[config, split]
        record = configs.setdefault(
            config,
            {
                "domain": domain.name,
                "profile": domain.profile,
                "class_names": list(content.n_of_class),
                "clip_shape": [domain.num_frames, domain.size_px, domain.size_px],
                "recipe": domain.to_json(),
                "splits": {},
            },
        )
        preview_rows = sum(min(n, PREVIEW_CLIPS_PER_CLASS) for n in content.n_of_class.values())
        record["splits"][split] = {
            "n": recipe.n,
            **{kind: name(config, split) for kind, name in PART_FILES.items()},
            "preview_rows": preview_rows,
            "recipe_digest": recipe.digest,
            "content_hash": content.content_hash,
            "bytes": (folder / clip_file(config, split)).stat().st_size,
            "n_of_class": content.n_of_class,
        }
    digits = {PARTITION_OF_SPLIT[r.split]: r.digits_sha256 for r in recipes.values() if r.digits_sha256}
    digits_source = next((r.digits_source for r in recipes.values() if r.digits_source), None)
    return {
        "schema_version": SCHEMA_VERSION,
        "name": RELEASE_NAME,
        "version": RELEASE_VERSION,
        "departures": plan.departures(digits_source),
        "seed": plan.seed,
        "generator_version": tsgen.__version__,
        "stream_version": STREAM_VERSION,
        "made_with": made_with(),
        "digits_source": digits_source,
        "digits_sha256": digits,
        "licenses": licenses_of(digits_source),
        "configs": configs,
        "audit": {config: duplicates({split: contents[config, split] for split in SPLITS}) for config in plan.configs},
        "about": ABOUT,
    }


def licenses_of(digits_source: str | None) -> dict[str, str | None]:
    """What the manifest says of the terms; ``digits_source`` None: no digits are shown."""
    return {"clips": LICENCE, "digits": digits_source and terms_of({"digits_source": digits_source}).digits}


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a release of this schema, its types and file names checked. Raises DataError."""
    path = folder / MANIFEST_FILE
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise DataError(f"{path} is larger than {MAX_FILE_BYTES} bytes; refused.")
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {folder} is no release, or an unfinished one.") from None
    except (OSError, ValueError, RecursionError) as problem:
        raise DataError(f"{path} cannot be read: {problem}") from problem
    _check_fields(value, _TOP, str(path))
    if value["schema_version"] != SCHEMA_VERSION:
        raise DataError(f"{path} has schema version {value['schema_version']}; this tsgen reads {SCHEMA_VERSION}.")
    for config, record in value["configs"].items():
        where = f"{path}, {config!a}"
        _check_fields(record, _CONFIG, where)
        if config not in CONFIGS:
            raise DataError(f"{where}: no configuration of this version; allowed: {', '.join(CONFIGS)}.")
        if tuple(record["splits"]) != SPLITS:
            raise DataError(f"{where}: has the splits {tuple(record['splits'])!a}; expected {', '.join(SPLITS)}.")
        for split, part in record["splits"].items():
            _check_fields(part, _SPLIT, f"{where}, {split}")
            names = {kind: part[kind] for kind in PART_FILES}
            if names != {kind: name(config, split) for kind, name in PART_FILES.items()}:
                raise DataError(f"{where}, {split}: names the files {list(names.values())!a}, not those of the split.")
    plan_of(value, str(path))
    return dict(value)


def plan_of(manifest: dict[str, Any], where: str = MANIFEST_FILE) -> Plan:
    """The plan that a manifest records."""
    sizes = [{split: part["n"] for split, part in record["splits"].items()} for record in manifest["configs"].values()]
    if any(each != sizes[0] for each in sizes):
        raise DataError(f"{where}: the configurations have splits of different sizes.")
    try:
        return Plan(tuple(manifest["configs"]), sizes[0] if sizes else {}, manifest["seed"])
    except UsageError as problem:
        raise DataError(f"{where}: {problem}") from problem


def recipe_of(manifest: dict[str, Any], config: str, split: str) -> Recipe:
    """The recipe of a clip file as the manifest states it. Raises DataError for one that this tsgen cannot follow."""
    record = manifest["configs"][config]
    has_digits = record["recipe"].get("entity") == "digit"
    partition = PARTITION_OF_SPLIT[split]
    return Recipe.from_json(
        {
            "stream_version": manifest["stream_version"],
            "domain": record["recipe"],
            "n": record["splits"][split]["n"],
            "seed": manifest["seed"],
            "split": split,
            "digits_source": manifest["digits_source"] if has_digits else None,
            "digits_sha256": manifest["digits_sha256"].get(partition) if has_digits else None,
        }
    )


def check_domains(recipes: Recipes) -> None:
    """Raise DataError when a configuration is drawn otherwise than this version draws it.

    The manifest's own recipes prove nothing: whoever forges clips writes the recipe of these into it.
    """
    for config, recipe in ((config, recipe) for (config, _), recipe in recipes.items()):
        theirs, mine = recipe.domain.to_json(), domain_of(config).to_json()
        name = next((name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)), None)
        if name is not None:
            raise DataError(
                f"{MANIFEST_FILE}: the recipe of {config} is not that of this version: {name} is "
                f"{str(theirs.get(name))[:60]!r} instead of {str(mine.get(name))[:60]!r}."
            )


def _check_fields(value: Any, fields: dict[str, type | tuple[type, ...]], where: str) -> None:
    if not isinstance(value, dict):
        raise DataError(f"{where}: is no JSON object.")
    missing = sorted(set(fields) - set(value))
    if missing:
        raise DataError(f"{where}: {', '.join(missing)} missing.")
    for name, kind in fields.items():
        if not isinstance(value[name], kind) or isinstance(value[name], bool):
            expected = "str or null" if isinstance(kind, tuple) else kind.__name__
            raise DataError(f"{where}: {name} is {str(value[name])[:50]!r}; expected {expected}.")
