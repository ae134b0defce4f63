"""A domain of one's own: a small TOML file that turns dials of a built-in one.

::

    base = "mnist-bg"       # a built-in domain
    profile = "paper"       # optional
    name = "loud"           # optional, default: the file's name
    intensity = 0.8         # any dial of the record tsgen.Domain
    sigma_low = 4

Its clips move like those of the base, clip by clip, so that results can be paired; give ``stream`` a name of its own to
draw others. Such a file stands wherever the name of a built-in domain can.
"""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

from tsgen.common.errors import DataError, UsageError, unknown_name
from tsgen.domains import Domain, get_domain

MAX_FILE_BYTES = 64 * 1024
DIALS = tuple(field.name for field in dataclasses.fields(Domain))
KEYS = ("base", *DIALS)


def resolve_domain(name: str, profile: str | None = None) -> Domain:
    """The domain named on a command line: a built-in name, or the path of a file ending in ``.toml``.

    ``profile`` None leaves it to the file, or to "paper". Raises UsageError or DataError.
    """
    if not name.endswith(".toml"):
        return get_domain(name, profile or "paper")
    path = Path(name)
    if not path.is_file():
        raise UsageError(f"domain {name!r}: no such file.")
    return _domain_of(path, profile)


def _domain_of(path: Path, profile: str | None) -> Domain:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise DataError(f"{path} is larger than {MAX_FILE_BYTES} bytes; not a domain file.")
    try:
        dials: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise DataError(f"{path} cannot be read: {problem}") from problem
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise DataError(f"{path} is not valid TOML: {problem}") from problem
    unknown = [key for key in dials if key not in KEYS]
    if unknown:
        hints = "; ".join(str(unknown_name("key", key, KEYS)).partition(" Allowed")[0] for key in unknown)
        raise DataError(f"{path}: {hints} Allowed: {', '.join(KEYS)}.")
    try:
        base = dials.pop("base")
    except KeyError:
        raise DataError(f"{path}: the key 'base' is missing; it names the built-in domain to start from.") from None
    recorded = dials.pop("profile", "paper")
    try:
        domain = get_domain(str(base), profile or str(recorded))
        return domain.with_dials(**{"name": path.stem, **dials})
    except UsageError as problem:
        raise DataError(f"{path}: {problem}") from problem
