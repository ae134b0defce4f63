"""What ``--data`` may name: a folder of frames, or a recipe that becomes one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tsgen.common.hub.reference import is_reference

MINI_PREFIX, SHAPES_PREFIX = "mini:", "shapes:"
DATA_HELP = (
    f"Folder of video frames that d48dom pack and d48dom build wrote; or {MINI_PREFIX}rho=0.8,train=400: mini-Diving48 "
    f"made on the spot; or {SHAPES_PREFIX}rho=0.8: Temporal Shape over textures; or a release, hf:USER/NAME@v1.0.0."
)


def data_folder(data: str, say: Callable[[str], None] = lambda line: None) -> Path:
    """The folder itself, that of a recipe, made if it is not there yet, or of a release, downloaded and verified.

    See :mod:`diving48_domains.mini_study` (minutes) and :mod:`benchmark.textured_shapes` (seconds).
    UsageError for a wrong recipe or reference.
    """
    if is_reference(data):
        from tsgen.common.hub.download import resolve

        return resolve(data, say=say)
    if data.startswith(MINI_PREFIX):
        from diving48_domains.mini_study import make_mini_study, parse_mini_study

        return make_mini_study(parse_mini_study(data), say=say)
    if data.startswith(SHAPES_PREFIX):
        from benchmark.data import data_directory
        from benchmark.textured_shapes import make_shapes, parse_shapes

        return make_shapes(parse_shapes(data), data_directory(None), say)
    return Path(data)
