"""Where the truth comes from: clip files or answer keys the scorer has, or clips made again from the recipe.

What a submission says about its data only serves to find the truth; labels and classes are never taken from it.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.config import RunConfig
from benchmark.submission.answers import AnswerKey
from benchmark.submission.layout import shown
from benchmark.submission.record import EvaluatedOn
from tsgen.common.errors import DataError, RacError, UsageError

if TYPE_CHECKING:
    from tsgen.recipe import Recipe

KEY_FILE_ENDING = ".json"
FILE_ENDINGS = (".h5", ".hdf5", KEY_FILE_ENDING)
MAX_MADE_PIXELS = 1 << 30
"""Of clips made again for a submission: so many are drawn in seconds."""

HASH_CHARS = 16
AUTO = "auto"


class AnswerKeys:
    """Finds the key of a domain; every key is made once and kept, so that many submissions score quickly.

    ``data``: clip files and answer keys (:mod:`benchmark.submission.key_file`), or folders in which all are taken.
    ``digits`` as in ``rac-bench run``; with "auto" the embedded ones where the recipe says so, else MNIST from
    ``$TSGEN_MNIST_DIR`` or tsgen's cache: a submission must not start a download. ``allow_custom``: make clips of any
    recipe again.
    """

    def __init__(
        self,
        data: Sequence[Path] = (),
        *,
        digits: str | None = AUTO,
        allow_custom: bool = False,
        keys: Sequence[AnswerKey] = (),
    ) -> None:
        self._digits = digits
        self.allow_custom = allow_custom
        self._keys = {key.content_hash: key for key in keys}
        self._files: dict[str, Path] = {}  # content hash -> clip file, not read yet
        self._versions: dict[tuple[str, str], list[tuple[str, str]]] = {}  # (domain, split) -> (content hash, where)
        self._made: dict[str, AnswerKey | str] = {}  # digest of the recipe -> key, or why there is none
        for key in keys:
            self._versions.setdefault((key.domain, key.split), []).append((key.content_hash, "the given answer key"))
        for path in data:
            self._register(path)

    def find(self, domain: str, facts: EvaluatedOn) -> AnswerKey:
        """DataError, one line, when there is no key or the submission was evaluated on other clips."""
        if facts.content_hash in self._files:
            self._keys[facts.content_hash] = key_of_clips(self._files[facts.content_hash])
            del self._files[facts.content_hash]
        key = self._keys.get(facts.content_hash)
        if key is None and facts.recipe is not None:
            key = self._make(domain, facts, facts.recipe)
        if key is None:
            raise DataError(self._nothing_found(domain, facts))
        if (key.domain, key.split) != (domain, facts.split):
            raise DataError(
                f"{domain}: content hash {facts.content_hash[:HASH_CHARS]}... is that of {key.domain} {key.split}, "
                f"not of {domain} {facts.split}; correct the record."
            )
        if len(key) != facts.n:
            raise DataError(f"{domain}: n is {facts.n}, but these clips are {len(key)}; correct the record.")
        return key

    def _register(self, path: Path) -> None:
        import tsgen
        from benchmark.submission.key_file import is_key_file

        named = [path] if not path.is_dir() else [each for each in _walk(path) if each.suffix in FILE_ENDINGS]
        found = False
        for each in named:
            is_json = each.suffix == KEY_FILE_ENDING
            if is_key_file(each) or (is_json and each == path):
                self._register_key(each)
                found = True
                continue
            if is_json:  # some other JSON of the folder
                continue
            try:
                with tsgen.open_clips(each) as file:
                    self._files.setdefault(file.content_hash, each)
                    self._versions.setdefault((file.domain, file.split), []).append((file.content_hash, str(each)))
                    found = True
            except DataError:
                if each == path:
                    raise
        if not found:
            raise UsageError(
                f"--data {path}: no clip file or answer key is in it; give such files, or folders that hold some."
            )

    def _register_key(self, path: Path) -> None:
        from benchmark.submission.key_file import read_key

        key = read_key(path)
        known = self._keys.setdefault(key.content_hash, key)
        if known is not key and not _are_equal(known, key):
            raise DataError(
                f"--data {path}: another answer key has the same content hash {key.content_hash[:HASH_CHARS]}... and "
                "says otherwise; leave one of them out."
            )
        self._versions.setdefault((key.domain, key.split), []).append((key.content_hash, str(path)))

    def _make(self, domain: str, facts: EvaluatedOn, recipe_json: dict[str, Any]) -> AnswerKey:
        from tsgen.recipe import Recipe

        if "\\u" in json.dumps(recipe_json):
            raise DataError(f"{domain}: the recipe holds other than ASCII text; copy it from the clip file.")
        try:
            recipe = Recipe.from_json(recipe_json)
        except DataError as problem:
            raise DataError(f"{domain}: {problem}") from None
        if not self.allow_custom:
            differing = _own_differences(domain, facts.split, recipe)
            if differing:
                raise DataError(
                    f"{domain}: not the clips of the benchmark ({'; '.join(differing)}). Evaluate on those; the scorer "
                    "may also give the clip file with --data, or add --allow-custom."
                )
        pixels = recipe.n * recipe.domain.num_frames * recipe.domain.size_px**2
        if pixels > MAX_MADE_PIXELS:
            raise DataError(f"{domain}: {recipe.n} clips are too many to make again; give the clip file with --data.")
        made = self._made.get(recipe.digest)
        if made is None:
            try:
                made = _make_key(recipe, self._digits_for(recipe))
            except RacError as problem:
                made = f"{problem} Or give the clip file with --data."
            self._made[recipe.digest] = made
        if isinstance(made, str):
            raise DataError(f"{domain}: {made}")
        if made.content_hash != facts.content_hash:
            where = "made from the recorded recipe"
            raise DataError(_other_version(domain, facts, [(made.content_hash, where)]))
        self._keys[made.content_hash] = made
        return made

    def _digits_for(self, recipe: Recipe) -> str | None:
        if self._digits != AUTO:
            return self._digits
        if str(recipe.digits_source).startswith("embedded"):
            return "embedded"
        return _mnist_at_hand(recipe) if recipe.domain.has_digits else None

    def _nothing_found(self, domain: str, facts: EvaluatedOn) -> str:
        versions = self._versions.get((domain, facts.split), [])
        if versions:
            return _other_version(domain, facts, versions)
        return (
            f"{domain}: no answer key for its {facts.split} clips: they are not in --data, and the record has no "
            "recipe to make them from. Give the clip file, or an answer key (rac-bench key), with --data."
        )


def _walk(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _other_version(domain: str, facts: EvaluatedOn, versions: Sequence[tuple[str, str]]) -> str:
    expected = ", ".join(f"{content_hash[:HASH_CHARS]}... ({where})" for content_hash, where in versions)
    return (
        f"another version of the data: {domain} {facts.split}: expected content hash {expected}, found in the record "
        f"{facts.content_hash[:HASH_CHARS]}...; evaluate on the expected clips."
    )


def _own_differences(domain: str, split: str, recipe: Recipe) -> list[str]:
    """How a recipe departs from the benchmark's own clips of ``domain``; the digits are compared by their SHA-256."""
    from tsgen.domains import DOMAINS

    if domain not in DOMAINS:
        return [f"{shown(domain)} is none of {', '.join(DOMAINS)}"]
    own = RunConfig()
    n = own.n_val if split == "val" else own.n_target
    pairs = {"n": (recipe.n, n), "seed": (recipe.seed, own.data_seed), "split": (recipe.split, split)}
    mine, its = DOMAINS[domain].to_json(), recipe.domain.to_json()
    pairs |= {name: (its[name], mine[name]) for name in mine}
    return [
        f"{name} is {shown(found)} instead of {wanted}" for name, (found, wanted) in pairs.items() if found != wanted
    ]


def departures(domain: str, facts: EvaluatedOn) -> list[str]:
    """How clips with a recipe depart from the benchmark's own; empty when they are those, or have no recipe."""
    from tsgen.recipe import Recipe

    if facts.recipe is None:
        return []
    return _own_differences(domain, facts.split, Recipe.from_json(facts.recipe))


def _mnist_at_hand(recipe: Recipe) -> str | None:
    """A source of digits for tsgen that is on this machine; DataError when there is none."""
    from tsgen.digits import MNIST_DIR_VARIABLE, cached_mnist

    if os.environ.get(MNIST_DIR_VARIABLE):
        return None  # tsgen takes that directory and no other
    cache = cached_mnist(recipe.split)
    if cache is not None:
        return cache
    raise DataError(
        f"its clips show MNIST, which is neither in ${MNIST_DIR_VARIABLE} nor in tsgen's cache, and nothing is "
        "downloaded unasked; give a directory with its files as --digits PATH, or --digits mnist to download it."
    )


def _make_key(recipe: Recipe, digits: str | None) -> AnswerKey:
    import tsgen

    with tempfile.TemporaryDirectory(prefix="rac-bench-") as folder:
        path = Path(folder) / "clips.h5"
        made = tsgen.make(
            recipe.domain, recipe.n, path, seed=recipe.seed, split=recipe.split, digits=digits, quiet=True
        )
        if made.digits_sha256 != recipe.digits_sha256:
            theirs, ours = (
                f"{shown(one.digits_source)} ({shown(one.digits_sha256)[:12]}...)" for one in (recipe, made)
            )
            raise DataError(f"the clips show the digits {theirs}, here are {ours}; name the right ones with --digits.")
        return key_of_clips(path, check=False)


def _are_equal(one: AnswerKey, other: AnswerKey) -> bool:
    def plain(key: AnswerKey) -> tuple[object, ...]:
        return key.domain, key.split, key.class_names, key.clip_id.tolist(), key.label.tolist(), key.clip_name

    return plain(one) == plain(other)


def key_of_clips(path: Path, *, check: bool = True) -> AnswerKey:
    """The labels of a clip file of tsgen. DataError when it is none, or was changed after it was made."""
    import tsgen

    with tsgen.open_clips(path) as file:
        if check:
            file.check_content()
        return AnswerKey(
            domain=file.domain,
            split=file.split,
            class_names=file.class_names,
            content_hash=file.content_hash,
            clip_id=file.clip_id,
            label=file.labels,
            digits_source=file.digits_source,
            digits_sha256=file.digits_sha256,
        )
