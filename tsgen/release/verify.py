"""Proof of a release, from the hashes of its files to every value made again from the recipes."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tsgen.clipset import open_clips
from tsgen.common.engine import usable_cores
from tsgen.common.errors import DataError, RacError, UsageError
from tsgen.common.sums import SUMS_FILE, check_sums, read_sums
from tsgen.common.tables import require_pyarrow
from tsgen.digits import (
    EMBEDDED,
    EMBEDDED_SOURCE,
    HELP,
    MNIST,
    MNIST_DIR_VARIABLE,
    PARTITION_OF_SPLIT,
    load_digits,
    resolve_source,
)
from tsgen.recipe import Recipe
from tsgen.release.contents import Content, Contents, read_content
from tsgen.release.extras import clip_file_problems, file_problems, strip_file_problems, text_problems
from tsgen.release.manifest import MANIFEST_FILE, check_domains, manifest_of, plan_of, read_manifest, recipe_of
from tsgen.release.plan import Recipes
from tsgen.release.strips import VIEWER_COLUMNS, strips_of, strips_problems, viewer_columns
from tsgen.release.tables import index_table, preview_table, table_problems
from tsgen.verify import verify_file

LEVELS: dict[str, str] = {
    "sums": "every file has the SHA-256 that is listed",
    "values": "every file has its SHA-256, every clip file its content hash; tables, manifest, card and terms are "
    "those of these files, and there is nothing else",
    "rebuilt": "every file has its SHA-256, tables, manifest, card and terms are those of the clip files, every value "
    "of these was made again from the recipe, and there is nothing else",
}
"""How far a verification goes, and what is true when it finds nothing."""


@dataclass(frozen=True)
class ReleaseReport:
    """What was checked, one of LEVELS, and what is wrong: each of ``problems`` names a file.

    ``not_rebuilt``: configurations that could not be made again, and why; what else can be known of them was checked.
    """

    folder: str
    level: str
    files: int
    clips: int
    problems: tuple[str, ...] = ()
    not_rebuilt: dict[str, str] = field(default_factory=dict)

    @property
    def is_proven(self) -> bool:
        """Nothing is wrong, and all that was asked for could be checked."""
        return not self.problems and not self.not_rebuilt

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "proven": self.is_proven}

    def to_text(self) -> str:
        clips = f", {self.clips} clips" if self.level != "sums" else ""
        if self.is_proven:
            return f"{self.folder}: {self.files} files{clips}: {LEVELS[self.level]}."
        lines = [f"{self.folder}: {len(self.problems)} problems in {self.files} files{clips}."]
        lines += [f"  {problem}" for problem in self.problems]
        if self.not_rebuilt:
            reasons = dict.fromkeys(self.not_rebuilt.values())
            for reason in reasons:
                names = [name for name, why in self.not_rebuilt.items() if why == reason]
                lines.append(f"  not made again: {', '.join(names)}: {reason}")
            lines.append(
                "  Their values are those whose hashes the release records; that the recipes give them was not shown. "
                "Name the digits with --digits, or ask for no more with --without-rebuild."
            )
        return _printable("\n".join(lines))


def verify_release(
    folder: Path | str,
    *,
    quick: bool = False,
    rebuild: bool = True,
    digits: str | None = None,
    workers: int | None = None,
    quiet: bool = False,
) -> ReleaseReport:
    """Check a release folder of unknown origin and list everything that is wrong.

    ``quick``: SHA256SUMS alone. Else every clip file is opened through the guard and its content hash computed anew,
    the tables are compared with it row by row and the manifest with all of them, card, Croissant, licence and
    attribution with what the manifest gives; no other file or attribute may be there. With ``rebuild`` every value is
    made again from the recipe, which must be this version's. ``digits`` as in :func:`tsgen.digits.load_digits`; the
    embedded ones are found without it.

    Raises UsageError when there is no such folder, DataError when it has no SHA256SUMS, no manifest of this version,
    or a configuration that is drawn otherwise than here.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder.")
    problems = check_sums(folder, workers=workers)
    sums = read_sums(folder / SUMS_FILE)
    if quick:
        return ReleaseReport(str(folder), "sums", len(sums), 0, tuple(problems))
    require_pyarrow()
    manifest = read_manifest(folder)
    plan = plan_of(manifest)
    recipes: Recipes = {part: recipe_of(manifest, *part) for part in plan.parts}
    check_domains(recipes)
    problems += file_problems(sums, plan)
    source, not_rebuilt = _digits(manifest, recipes, digits) if rebuild else (None, {})
    contents, found = _check_parts(folder, manifest, recipes, rebuild, not_rebuilt, source, workers, quiet)
    problems += found
    if len(contents) == len(recipes):
        problems += _contradictions(manifest, manifest_of(folder, plan, recipes, contents))
    problems += text_problems(folder, manifest, sums)
    clips = sum(recipe.n for recipe in recipes.values())
    return ReleaseReport(
        str(folder), "rebuilt" if rebuild else "values", len(sums), clips, tuple(problems), not_rebuilt
    )


def _check_parts(
    folder: Path,
    manifest: dict[str, Any],
    recipes: Recipes,
    rebuild: bool,
    not_rebuilt: dict[str, str],
    source: str | None,
    workers: int | None,
    quiet: bool,
) -> tuple[Contents, list[str]]:
    """What the clip files hold, those that can be read, and the problems of every split, in the manifest's order."""
    from tqdm import tqdm

    def check(part: tuple[str, str]) -> tuple[Content | None, list[str]]:
        config, split = part
        facts = manifest["configs"][config]["splits"][split]
        if not (folder / facts["file"]).is_file():
            return None, []  # the sums tell
        content, problems = _check_values(folder, manifest, recipes[part], config)
        if content is not None and rebuild and config not in not_rebuilt:
            outcome = verify_file(folder / facts["file"], source)
            if not outcome.is_identical:
                problems.append(outcome.to_text())
        return content, problems

    contents: Contents = {}
    found: list[str] = []
    with (
        ThreadPoolExecutor(workers or usable_cores()) as pool,
        tqdm(total=len(recipes), desc="verify", unit="file", disable=True if quiet else None) as bar,
    ):
        for part, (content, problems) in zip(recipes, pool.map(check, recipes), strict=True):
            if content is not None:
                contents[part] = content
            found += problems
            bar.update()
    return contents, found


def _check_values(
    folder: Path, manifest: dict[str, Any], recipe: Recipe, config: str
) -> tuple[Content | None, list[str]]:
    facts = manifest["configs"][config]["splits"][recipe.split]
    path = folder / facts["file"]
    try:
        with open_clips(path) as clip_set:
            content = read_content(clip_set, recipe)
            strips = strips_of(clip_set)
            checks = {
                facts["index"]: partial(table_problems, expected=index_table(clip_set)),
                facts["preview"]: partial(table_problems, expected=preview_table(strips, clip_set, config)),
                facts["strips"]: partial(strips_problems, expected=viewer_columns(strips, clip_set, config)),
            }
    except DataError as problem:
        return None, [str(problem)]
    problems = clip_file_problems(path, recipe, content.content_hash, manifest)
    for name, check in checks.items():
        if (folder / name).is_file():
            problems += [f"{name}: {problem}" for problem in check(folder / name)]
    if (folder / facts["strips"]).is_file():
        meanings = {name: meaning for name, (_, meaning) in VIEWER_COLUMNS.items()}
        problems += strip_file_problems(folder / facts["strips"], meanings, manifest)
    return content, problems


def _contradictions(manifest: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """What the manifest says otherwise than the files do. What files cannot say is in ``extras.py``."""
    of_its_time = {"version", "generator_version", "made_with", "licenses", "about"}
    if manifest["version"] != found["version"]:
        of_its_time.add("departures")  # from a release that had other configurations
    problems = []
    for name in sorted((set(manifest) | set(found)) - of_its_time):
        mine, theirs = manifest.get(name), found.get(name)
        if mine == theirs:
            continue
        inner = name
        while isinstance(mine, dict) and isinstance(theirs, dict):  # down to the first value that differs
            keys = [*theirs, *(key for key in mine if key not in theirs)]
            key = next(key for key in keys if mine.get(key) != theirs.get(key) or (key in mine) != (key in theirs))
            inner, mine, theirs = f"{inner}.{key}", mine.get(key), theirs.get(key)
        problems.append(f"{MANIFEST_FILE}: {inner} is {str(mine)[:80]!r}; the files say {str(theirs)[:80]!r}.")
    return problems


def _printable(text: str) -> str:
    """Names out of files of unknown origin must not reach the terminal as they are."""
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def _digits(manifest: dict[str, Any], recipes: Recipes, digits: str | None) -> tuple[str | None, dict[str, str]]:
    """The source to make the clips again with, and the configurations that it does not allow to, with the reason."""
    showing = list(dict.fromkeys(config for (config, _), recipe in recipes.items() if recipe.domain.has_digits))
    if not showing:
        return None, {}
    name = manifest["digits_source"]
    if digits is None and name not in (EMBEDDED_SOURCE, MNIST) and MNIST_DIR_VARIABLE not in os.environ:
        return None, dict.fromkeys(showing, "made with digits of the builder's own, which nothing here can find.")
    try:
        source = resolve_source(EMBEDDED if digits is None and name == EMBEDDED_SOURCE else digits)
        seen = set()
        for (_, split), recipe in recipes.items():
            if recipe.domain.has_digits and (partition := PARTITION_OF_SPLIT[split]) not in seen:
                seen.add(partition)
                loaded = load_digits(source, split, recipe.domain.width_px)
                if loaded.sha256 != recipe.digits_sha256:
                    raise DataError(
                        f"made with digits {name!r} (sha256 {str(recipe.digits_sha256)[:16]}...), "
                        f"found are {loaded.source!r} ({partition}, sha256 {loaded.sha256[:16]}...)."
                    )
    except UsageError:
        raise
    except RacError as problem:
        return None, dict.fromkeys(showing, str(problem).removesuffix(HELP).strip())
    return source, {}
