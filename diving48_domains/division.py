"""How work is divided: shards of a list, machines that share a file system."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from tsgen.common.errors import UsageError
from tsgen.common.shards import Shard


def check_shard(shard: Shard, name: str, num_clips: int) -> None:
    """UsageError where some shard of the list ``name`` would have no clip."""
    if shard.count > num_clips:
        raise UsageError(
            f"--shard {shard} leaves shards without a clip: {name} has {num_clips} clips; give i/n with n at most "
            f"{num_clips}."
        )


def enter_folder(folder: Path) -> None:
    """Into the driver's folder, that relative paths mean the same. UsageError where this machine does not see it."""
    try:
        os.chdir(folder)
    except OSError as problem:
        raise UsageError(
            f"the machine {platform.node()} cannot enter {folder}, where the command was started: {problem}. All "
            "machines of --engine ray need one common file system."
        ) from None
