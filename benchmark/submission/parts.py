"""What one shard of ``rac-bench predict`` answered, and joining the shards to a submission. No torch.

part.json                            the record of the whole submission, the weights, the shard, SHA-256 of each file
predictions/seed<seed>/<domain>.h5   as in a run directory: the shard's answers beside the truth
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from benchmark.predictions import Predictions, predictions_path, read_predictions, write_predictions
from benchmark.results import read_json
from benchmark.submission.layout import answers_name, list_files, shown
from benchmark.submission.record import Submission, read_record
from benchmark.submission.write import check_out, write_submission
from tsgen.common.errors import DataError, UsageError
from tsgen.common.files import atomic_folder, sha256_file, write_json_atomic
from tsgen.common.shards import Shard

FORMAT = "rac-bench-prediction-part"
SCHEMA_VERSION = 1
PART_NAME = "part.json"
HEX = re.compile(r"[0-9a-f]{64}")
MAX_NAMED = 5

Item = TypeVar("Item")


@dataclass(frozen=True)
class Part:
    """``weights``: seed -> SHA-256; ``files``: name of each of the shard's files -> SHA-256."""

    shard: Shard
    weights: dict[int, str]
    submission: Submission
    files: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "shard": str(self.shard),
            "weights": {str(seed): digest for seed, digest in self.weights.items()},
            "submission": self.submission.to_json(),
            "files": self.files,
        }

    @classmethod
    def read(cls, path: Path) -> Part:
        """Of a folder that may come from anywhere; the files are not opened."""
        where = path / PART_NAME
        value = read_json(where)
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise DataError(f'{where} is no part of a prediction: it must hold "format": "{FORMAT}".')
        if value.get("schema_version") != SCHEMA_VERSION:
            raise DataError(f"{where} is not of schema version {SCHEMA_VERSION}; predict again with this rac-bench.")
        outline = read_record(value.get("submission"))
        if outline.submission is None:
            raise DataError(f"{where} is damaged: {'; '.join(problem.text for problem in outline.problems)}")
        try:
            shard = Shard.parse(str(value.get("shard")))
        except UsageError as problem:
            raise DataError(f"{where} is damaged: {problem}") from None
        weights, files = (_digests(value.get(name), f"{where} is damaged: its {name}") for name in ("weights", "files"))
        of_seed = {str(seed): seed for seed in outline.submission.seeds}
        if set(weights) != set(of_seed):
            raise DataError(f"{where} is damaged: its weights are not those of its seeds.")
        return cls(shard, {of_seed[name]: digest for name, digest in weights.items()}, outline.submission, files)


def shard_of_pairs(pairs: Sequence[Item], shard: Shard) -> list[Item]:
    """UsageError when there are more shards than pairs: one of them would have nothing to say."""
    if shard.count > len(pairs):
        raise UsageError(
            f"--shard {shard}: there are {len(pairs)} pairs of a seed and a domain; give at most {len(pairs)} shards."
        )
    return [pairs[row] for row in shard.rows(len(pairs))]


def write_part(path: Path, part: Part, predictions: Iterable[Predictions]) -> None:
    """All or nothing."""
    with atomic_folder(path) as partial:
        files = {}
        for each in predictions:
            file = predictions_path(partial, each.seed, each.domain)
            write_predictions(file, each)
            files[answers_name(each.seed, each.domain)] = sha256_file(file)
        write_json_atomic(partial / PART_NAME, replace(part, files=files).to_json())


def same_part(path: Path, shard: Shard, weights: dict[int, str], asked: Submission) -> Submission:
    """Of a part that is there already; UsageError when it answers something else, DataError when it is damaged.

    Not compared is what only evaluating shows: the number of parameters, and weights that a model brought along.
    """
    if not (path / PART_NAME).is_file():
        raise UsageError(f"{path} exists and is no part of a prediction; give another --out.")
    found = Part.read(path)
    submission = found.submission
    asked = replace(asked, model=replace(asked.model, parameters=submission.model.parameters))
    if found.shard != shard or submission != asked or (weights and found.weights != weights):
        raise UsageError(
            f"{path} holds answers of another model, other clips or words; remove it, or give another --out."
        )
    for _ in _read(path, found):  # every file is what was written
        pass
    return submission


def merge_parts(paths: Sequence[Path], out: Path) -> Submission:
    """Join the parts of all shards: the submission, to the byte, that predict writes without shards.

    DataError when they are not of one prediction, one is missing or twice, or a file is not what its shard wrote.
    """
    check_out(out)
    parts = [Part.read(path) for path in paths]
    first = parts[0]
    for path, part in zip(paths, parts, strict=True):
        differing = [
            name
            for name, one, other in (
                ("number of shards", first.shard.count, part.shard.count),
                ("weights", first.weights, part.weights),
                *((name, getattr(first.submission, name), getattr(part.submission, name)) for name in RECORD_FIELDS),
            )
            if one != other
        ]
        if differing:
            raise DataError(f"{path} is not of one prediction with {paths[0]}: other {', '.join(differing)}.")
    _check_all_there(paths, parts)
    predictions: dict[tuple[int, str], Predictions] = {}
    for path, part in zip(paths, parts, strict=True):
        for each in _read(path, part):
            if (each.seed, each.domain) in predictions:
                raise DataError(f"{path} answers seed {each.seed} on {each.domain}, as another part does.")
            predictions[each.seed, each.domain] = each
    submission = first.submission
    wanted = [(seed, domain) for seed in submission.seeds for domain in submission.domains]
    missing = [pair for pair in wanted if pair not in predictions]
    if missing:
        named = ", ".join(f"seed {seed} on {domain}" for seed, domain in missing[:MAX_NAMED])
        more = " and more" * (len(missing) > MAX_NAMED)
        raise DataError(f"no part answers {named}{more}; remove the part of that shard and do it again.")
    write_submission(out, submission, [predictions[pair] for pair in wanted])
    return submission


RECORD_FIELDS = ("title", "authors", "model", "protocol", "selection", "source", "targets", "seeds", "domains")


def _check_all_there(paths: Sequence[Path], parts: Sequence[Part]) -> None:
    holder: dict[int, Path] = {}
    for path, part in zip(paths, parts, strict=True):
        if part.shard.index in holder:
            raise DataError(f"{path} and {holder[part.shard.index]} are both shard {part.shard}; give each once.")
        holder[part.shard.index] = path
    count = parts[0].shard.count
    missing = [str(Shard(index, count)) for index in range(count) if index not in holder]
    if missing:
        named = ", ".join(missing[:MAX_NAMED]) + " and more" * (len(missing) > MAX_NAMED)
        raise DataError(f"{len(missing)} of {count} shards are missing: {named}.")


def _read(path: Path, part: Part) -> Iterable[Predictions]:
    """What a part holds: exactly the files it names, as its shard wrote them, on the clips of the record."""
    listing = list_files(path)
    if listing.problems:
        raise DataError(f"{path}: {listing.problems[0]}")
    submission = part.submission
    expected = {
        answers_name(seed, domain): (seed, domain) for seed in submission.seeds for domain in submission.domains
    }
    for name in sorted(set(part.files) | listing.present - {PART_NAME}):
        if name not in expected or name not in part.files:
            raise DataError(f"{path}: {shown(name)} does not belong to this part; remove it.")
        seed, domain = expected[name]
        file = predictions_path(path, seed, domain)
        if name not in listing.readable or sha256_file(file) != part.files[name]:
            raise DataError(f"{file} is missing or not what its shard wrote; remove {path} and do that shard again.")
        found, facts = read_predictions(file), submission.domains[domain]
        said = (found.seed, found.domain, found.split, len(found.clip_id), found.content_hash)
        if said != (seed, domain, facts.split, facts.n, facts.content_hash):
            raise DataError(f"{file} holds other answers than its name and the record say.")
        yield found


def _digests(value: Any, where: str) -> dict[str, str]:
    if isinstance(value, dict) and all(isinstance(each, str) and HEX.fullmatch(each) for each in value.values()):
        return value
    raise DataError(f"{where} must be names and SHA-256 of 64 hexadecimal digits each.")
