"""``submission.json``: the record of a submission, both directions. Reading names all that is wrong at once."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from benchmark.config import MAX_SEED, TARGETS
from benchmark.submission.fields import Fields, Kind, are_different, is_list, is_text, is_whole
from benchmark.submission.layout import FORMAT, RECORD_NAME, SCHEMA_VERSION, Problem, shown

MAX_CLIPS = 10**6
MAX_SEEDS = 64
MAX_TARGETS = 32
MAX_AUTHORS = 100
MAX_NAME_CHARS = 200
MAX_TEXT_CHARS = 2000
DOMAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

FAMILIES = ("recurrence", "attention", "convolution", "other")
SPLITS = ("val", "test")

REQUIRED_TARGETS: dict[str, tuple[str, ...]] = {**TARGETS, "V": ("S1", "S2", "T")}
"""Domain whose validation split gives V -> targets every submission must answer: Temporal Shape's and Diving48's."""


@dataclass(frozen=True)
class Model:
    """``family``: one of ``FAMILIES``; ``pretraining``: its weights saw other data before."""

    name: str
    family: str
    parameters: int
    pretraining: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "family": self.family,
            "parameters": self.parameters,
            "pretraining": self.pretraining,
        }


@dataclass(frozen=True)
class EvaluatedOn:
    """The clips of one domain; ``recipe`` is that of tsgen, None for clips that were not made by it."""

    split: str
    n: int
    content_hash: str
    recipe: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        return {"split": self.split, "n": self.n, "content_hash": self.content_hash, "recipe": self.recipe}


@dataclass(frozen=True)
class Submission:
    """``protocol`` and ``selection`` (of the checkpoint) in words; ``domains``: those of the source and each target."""

    title: str
    model: Model
    protocol: str
    selection: str
    source: str
    targets: tuple[str, ...]
    seeds: tuple[int, ...]
    domains: dict[str, EvaluatedOn]
    authors: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "title": self.title,
            "authors": list(self.authors),
            "model": self.model.to_json(),
            "protocol": self.protocol,
            "selection": self.selection,
            "source": self.source,
            "targets": list(self.targets),
            "seeds": list(self.seeds),
            "domains": {name: facts.to_json() for name, facts in self.domains.items()},
        }


@dataclass
class Outline:
    """What of a record could be understood; ``submission`` only when all of it was."""

    problems: list[Problem]
    source: str | None = None
    targets: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    domains: dict[str, EvaluatedOn] = field(default_factory=dict)
    submission: Submission | None = None

    @property
    def is_whole(self) -> bool:
        """It is known which files there must be."""
        return bool(self.source and self.targets and self.seeds)


def read_record(value: Any) -> Outline:
    """The parsed JSON of a record. Every field is looked at, whatever is wrong with the others."""
    outline = Outline([])
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        outline.problems.append(Problem(RECORD_NAME, f'is no submission: it must hold "format": "{FORMAT}".'))
        return outline
    version = value.get("schema_version")
    if type(version) is not int or version != SCHEMA_VERSION:
        text = f"has schema version {shown(version)}; this rac-bench reads {SCHEMA_VERSION}: write it with that one."
        outline.problems.append(Problem(RECORD_NAME, text))
        return outline

    top = Fields({k: v for k, v in value.items() if k not in ("format", "schema_version")}, "", outline.problems)
    title, authors = top.take("title", NAME), top.take("authors", AUTHORS, default=[])
    protocol, selection = top.take("protocol", TEXT), top.take("selection", TEXT)
    outline.source = top.take("source", DOMAIN)
    outline.targets = tuple(top.take("targets", DOMAINS) or ())
    outline.seeds = tuple(top.take("seeds", SEEDS) or ())
    model = _read_model(top.take("model", OBJECT), outline.problems)
    outline.domains = _read_domains(top.take("domains", OBJECT), outline)
    top.finish()
    if not outline.problems:
        assert model is not None and outline.source is not None
        outline.submission = Submission(
            title, model, protocol, selection, outline.source, outline.targets, outline.seeds, outline.domains,
            tuple(authors),
        )  # fmt: skip
    return outline


def _read_model(value: Any, problems: list[Problem]) -> Model | None:
    if value is None:
        return None
    fields = Fields(value, "model.", problems)
    taken = [fields.take(name, kind) for name, kind in MODEL_FIELDS.items()]
    fields.finish()
    return None if None in taken else Model(*taken)


def _read_domains(value: Any, outline: Outline) -> dict[str, EvaluatedOn]:
    """Those that are understood; what is said of the others goes to the problems."""
    if value is None:
        return {}
    wanted = [outline.source, *outline.targets] if outline.is_whole else []
    for name in wanted:
        if name not in value:
            outline.problems.append(Problem(RECORD_NAME, f"domains has no entry for {name}; add it."))
    understood = {}
    for name, entry in value.items():
        if wanted and name not in wanted:
            text = f"domains has an entry for {shown(name)}, which is neither source nor target; remove it."
            outline.problems.append(Problem(RECORD_NAME, text))
        elif not OBJECT.holds(entry):
            text = f"domains.{shown(name)} is {shown(entry)}; it must be {OBJECT.allowed}."
            outline.problems.append(Problem(RECORD_NAME, text))
        else:
            fields = Fields(entry, f"domains.{shown(name)}.", outline.problems)
            split, n, content_hash = (fields.take(key, kind) for key, kind in DOMAIN_FIELDS.items())
            recipe = fields.take("recipe", RECIPE, default=None)
            fields.finish()
            role_split = "val" if name == outline.source else "test"
            if split is not None and wanted and split != role_split:
                role = "source is scored on its val" if role_split == "val" else "targets are scored on their test"
                outline.problems.append(Problem(RECORD_NAME, f"domains.{name}.split is {split}: {role} split."))
            if None not in (split, n, content_hash):
                understood[name] = EvaluatedOn(split, n, content_hash, recipe)
    return understood


def _is_domain(value: Any) -> bool:
    return isinstance(value, str) and DOMAIN_NAME.fullmatch(value) is not None


NAME = Kind(f"one line of 1..{MAX_NAME_CHARS} printable characters", lambda v: is_text(v, MAX_NAME_CHARS))
TEXT = Kind(f"one line of 1..{MAX_TEXT_CHARS} printable characters", lambda v: is_text(v, MAX_TEXT_CHARS))
AUTHORS = Kind(f"a list of at most {MAX_AUTHORS} names", lambda v: is_list(v, 0, MAX_AUTHORS, NAME.holds))
DOMAIN = Kind("a name of 1..64 letters, digits, '.', '_' or '-', like 2dot", _is_domain)
DOMAINS = Kind(
    f"a list of 1..{MAX_TARGETS} different names of domains",
    lambda v: is_list(v, 1, MAX_TARGETS, _is_domain) and are_different(v),
)
SEEDS = Kind(
    f"a list of 1..{MAX_SEEDS} different whole numbers from 0 to 2**63-1",
    lambda v: is_list(v, 1, MAX_SEEDS, lambda seed: is_whole(seed, 0, MAX_SEED)) and are_different(v),
)
OBJECT = Kind("an object, {...}", lambda v: isinstance(v, dict))
RECIPE = Kind("the recipe of the clip file, an object, or null", lambda v: v is None or isinstance(v, dict))
YES_NO = Kind("true or false", lambda v: isinstance(v, bool))
MODEL_FIELDS = {
    "name": NAME,
    "family": Kind(f"one of {', '.join(FAMILIES)}", lambda v: v in FAMILIES if isinstance(v, str) else False),
    "parameters": Kind("a whole number from 0 to 10**15", lambda v: is_whole(v, 0, 10**15)),
    "pretraining": YES_NO,
}
SPLIT = Kind(" or ".join(SPLITS), lambda v: isinstance(v, str) and v in SPLITS)
CONTENT_HASH = Kind(
    "the 64 hexadecimal digits of the clip file's content hash",
    lambda v: isinstance(v, str) and re.fullmatch(r"[0-9a-f]{64}", v) is not None,
)
DOMAIN_FIELDS = {
    "split": SPLIT,
    "n": Kind(f"a whole number from 1 to {MAX_CLIPS}", lambda v: is_whole(v, 1, MAX_CLIPS)),
    "content_hash": CONTENT_HASH,
}
