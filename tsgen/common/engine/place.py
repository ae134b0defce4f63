"""Where a unit is done on another machine: in the folder in which the command was given."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path

from tsgen.common.errors import UsageError


def enter(folder: Path, needed: Iterable[Path] = ()) -> None:
    """Make ``folder`` the current one, as it is where the command was given: names in its options mean the same then.

    UsageError unless this machine sees it, may enter it, and sees every path of ``needed``.
    """
    path = folder
    try:
        os.chdir(folder)
        for path in needed:
            path.stat()
    except OSError as problem:
        raise UsageError(
            f"{path} is not there on {platform.node()}: the machines of a cluster work on common files. Begin in a "
            "folder that all of them see, and give what a command reads and writes (--out, --data-dir or RAC_DATA_DIR) "
            f"in such. [{problem.strerror}]"
        ) from problem
