"""The Croissant description of a release: JSON-LD that says in a machine's words what the card says in a reader's.

Version 1.1 with the fields on responsible AI. Files are listed with their SHA-256, which readers check when they load.
Record sets stand on the Parquet files, index and preview of each clip file: no reader of Croissant loads HDF5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tsgen.common.errors import DataError
from tsgen.common.hub.card import size_category
from tsgen.release.card import PRETTY_NAME, TAGS, splits_of
from tsgen.release.plan import PART_FILES
from tsgen.release.tables import INDEX_COLUMNS, PREVIEW_COLUMNS
from tsgen.release.terms import terms_of

CROISSANT_FILE = "croissant.json"
SPECIFICATIONS = ("http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0")

PUBLISHED = {"1.0.0": "2026-11-21"}
"""Version -> day it was decided on, so that the same version described twice gives the same bytes."""

CITE_AS = (
    "@inproceedings{broome2023recur, title = {Recur, Attend or Convolve? {O}n Whether Temporal Modeling Matters for "
    "Cross-Domain Robustness in Action Recognition}, author = {Broom{\\'e}, Sofia and Pokropek, Ernest and Li, Boyu "
    'and Kjellstr{\\"o}m, Hedvig}, booktitle = {IEEE/CVF Winter Conference on Applications of Computer Vision (WACV)}, '
    "year = {2023}}"
)

ENCODINGS = {".h5": "application/x-hdf5", ".parquet": "application/x-parquet"}
DATA_TYPES = {
    **{name: f"cr:{name.capitalize()}" for name in ("int16", "int32", "int64", "float32")},
    "string": "sc:Text",
    "image": "sc:ImageObject",
}
"""Types of columns -> of Croissant."""


@dataclass(frozen=True)
class Records:
    """What the rows of a kind of Parquet file are, and its columns: name -> (type, meaning)."""

    what: str
    columns: dict[str, tuple[str, str]]


RECORDS = {
    "index": Records(
        "Clips without their pixels", {name: (kind, meaning) for name, (kind, _, meaning) in INDEX_COLUMNS.items()}
    ),
    "preview": Records(
        "Film strips of a few clips of each class",
        {
            name: (INDEX_COLUMNS[name][0] if name in INDEX_COLUMNS else "image", meaning)
            for name, meaning in PREVIEW_COLUMNS.items()
        },
    ),
}
"""Kinds of files with records, as the manifest names them."""

_TERMS = (
    "arrayShape citeAs column containedIn equivalentProperty extract field fileProperty fileObject fileSet format "
    "includes isArray isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace "
    "samplingRate separator source subField transform"
)
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "prov": "http://www.w3.org/ns/prov#",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    **{term: f"cr:{term}" for term in _TERMS.split()},
}

RESPONSIBLE: dict[str, Any] = {
    "rai:dataCollection": "Rendered by a program from a seed; nothing was recorded. Labels are drawn first.",
    "rai:dataCollectionType": ["Others"],
    "rai:dataLimitations": [
        "Paths of one small thing on 64x64 px are not actions: accuracies say nothing of those on natural video.",
        "High accuracy on configs of the motion `paper` does not prove that a model uses temporal order.",
    ],
    "rai:dataBiases": [
        "In configs of the motion `paper`, where the entity starts and which pixels it visits tell something of the "
        "class, and paths can repeat within and across splits; the card has measurements, `strict` and `order` are "
        "made without these shortcuts.",
    ],
    "rai:personalSensitiveInformation": ["None. No person, place or recording is shown."],
    "rai:dataUseCases": [
        "Comparing video models by how their accuracy carries over from one look to another; probing temporal order.",
        "Not for pretraining, for ranking models for use on natural video, or for digit recognition.",
    ],
    "rai:dataSocialImpact": "None is expected from the clips. Claims that a model understands motion should not rest "
    "on this data alone.",
    "rai:hasSyntheticData": True,
    "rai:dataReleaseMaintenancePlan": "MAJOR: data changed; MINOR: added; PATCH: packed anew. A tag is never moved.",
}
"""The fields of responsible AI that do not depend on a release's content."""


def croissant_of(manifest: Mapping[str, Any], files: Mapping[str, tuple[str, int]]) -> dict[str, Any]:
    """The JSON-LD of a release; equal input gives an equal result, in the same order.

    ``manifest`` as in ``release.json``; ``files``: path in the release -> (SHA-256 hex, bytes), of the data, index and
    preview files at least. DataError when one of these is absent, or the version has no day of publication.
    """
    version = manifest["version"]
    if version not in PUBLISHED:
        raise DataError(f"version {version!r} has no day of publication; known: {', '.join(PUBLISHED)}.")
    terms = terms_of(manifest)
    named = [facts[kind] for _, _, facts in splits_of(manifest) for kind in PART_FILES]
    absent = [path for path in named if path not in files]
    if absent:
        raise DataError(f"{len(absent)} files of the manifest are not there, the first is {absent[0]}.")
    rows = sum(facts["n"] for _, _, facts in splits_of(manifest))
    told = "; ".join(manifest["departures"])
    departs = f" This build departs from release {version}: {told}." if told else ""
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": list(SPECIFICATIONS),
        "name": manifest["name"],
        "description": f"{PRETTY_NAME}: {rows} clips of 20 grey frames, 64x64 px, in which only motion tells the "
        f"classes apart, in {len(manifest['configs'])} configs that differ in what moves, before what, by what law. "
        f"Digits: {terms.digits}{departs}",
        "version": version,
        "datePublished": PUBLISHED[version],
        "license": [*terms.urls, *([terms.digits] if terms.name else [])],
        "citeAs": CITE_AS,
        "creator": {"@type": "sc:Organization", "name": "The recur-attend-convolve developers"},
        "keywords": [*TAGS, size_category(rows)],
        **RESPONSIBLE,
        "prov:wasDerivedFrom": terms.source or "nothing: rendered from a seed alone",
        "prov:wasGeneratedBy": f"tsgen release, generator {manifest['generator_version']}, seed {manifest['seed']}",
        "distribution": [_file_object(path, *files[path]) for path in named],
        "recordSet": [
            _record_set(kind, config, split, facts[kind])
            for config, split, facts in splits_of(manifest)
            for kind in RECORDS
        ],
    }


def _file_object(path: str, sha256: str, size_bytes: int) -> dict[str, Any]:
    suffix = path[path.rfind(".") :]
    return {
        "@type": "cr:FileObject",
        "@id": path,
        "name": path,
        "contentUrl": path,
        "contentSize": f"{size_bytes} B",
        "encodingFormat": ENCODINGS[suffix],
        "sha256": sha256,
    }


def _record_set(kind: str, config: str, split: str, path: str) -> dict[str, Any]:
    name, records = f"{kind}/{config}/{split}", RECORDS[kind]
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"{records.what}: {config}, {split}.",
        "key": {"@id": f"{name}/clip_id"},
        "field": [_field(name, column, path, *facts) for column, facts in records.columns.items()],
    }


def _field(record_set: str, column: str, path: str, kind: str, meaning: str) -> dict[str, Any]:
    source: dict[str, Any] = {"fileObject": {"@id": path}, "extract": {"column": column}}
    if kind == "image":  # stored as datasets stores pictures: a struct of bytes and path
        source["transform"] = {"jsonPath": "bytes"}
    return {
        "@type": "cr:Field",
        "@id": f"{record_set}/{column}",
        "name": column,
        "description": meaning,
        "dataType": DATA_TYPES[kind],
        "source": source,
    }
