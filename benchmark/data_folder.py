"""What ``--data`` may name: a folder of frames, or a recipe that becomes one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

MINI_PREFIX = "mini:"
DATA_HELP = (
    f"Folder of video frames that d48dom pack and d48dom build wrote, or {MINI_PREFIX}rho=0.8,train=400: "
    "mini-Diving48, made on the spot."
)


def is_mini(data: str) -> bool:
    return data.startswith(MINI_PREFIX)


def data_folder(data: str, say: Callable[[str], None] = lambda line: None) -> Path:
    """The folder itself, or that of ``mini:...``, made if it is not there yet (minutes). UsageError for a wrong recipe.

    See :mod:`diving48_domains.mini_study`.
    """
    if not is_mini(data):
        return Path(data)
    from diving48_domains.mini_study import make_mini_study, parse_mini_study

    return make_mini_study(parse_mini_study(data), say=say)
