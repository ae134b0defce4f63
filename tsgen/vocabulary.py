"""The words of the Temporal Shape dataset (section 3.2): classes, splits and the frame geometry."""

from __future__ import annotations

CLASS_NAMES: tuple[str, ...] = ("circle", "spiral", "line", "rectangle", "arc")
"""Trajectory classes; the position in this tuple is the class id, in the published order."""

SPLITS: tuple[str, ...] = ("train", "val", "test")
"""Independent streams of one seed. ``train`` and ``val`` are drawn with train digits, ``test`` with test digits."""

NUM_FRAMES = 20
FRAME_SIZE_PX = 64
