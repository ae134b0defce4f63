"""How a list is divided into shards."""

from __future__ import annotations

from tsgen.common.errors import UsageError
from tsgen.common.shards import Shard


def check_shard(shard: Shard, name: str, num_clips: int) -> None:
    """UsageError where some shard of the list ``name`` would have no clip."""
    if shard.count > num_clips:
        raise UsageError(
            f"--shard {shard} leaves shards without a clip: {name} has {num_clips} clips; give i/n with n at most "
            f"{num_clips}."
        )
