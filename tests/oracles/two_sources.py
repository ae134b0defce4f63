"""Two synthetic video sets with the same classes, as UCF101 and HMDB51 have: motions before walls of two styles."""

from __future__ import annotations

import csv

import numpy as np

from diving48_domains.video import write_video

CLASSES = ("fall", "rise", "slide")
HEIGHT, WIDTH = 32, 40
STYLES = {"red": ((200, 40, 30), 40), "blue": ((40, 60, 220), 120)}  # source -> colour of what moves, noise of the wall


def motion(label, source, seed, num_frames=36):
    """uint8 (T, H, W, 3): a block that falls, rises or slides."""
    rng = np.random.default_rng([seed, CLASSES.index(label), len(source)])
    colour, noise = STYLES[source]
    frames = np.repeat(rng.integers(0, noise, (1, HEIGHT, WIDTH, 3), dtype=np.uint8), num_frames, axis=0)
    x0, y0 = rng.integers(4, 12, 2).tolist()
    for t in range(num_frames):
        way = round(t / num_frames * 18)
        y, x = {"fall": (4 + way, x0), "rise": (24 - way, x0), "slide": (y0, 4 + way)}[label]
        frames[t, y : y + 6, x : x + 6] = colour
    return frames


def write_sources(root, plan):
    """Videos and their rows. ``plan``: (split, source, clips of each class); two clips of a class share a source video.

    Returns rows as dicts of id, path, label, split, source.
    """
    rows = []
    for split, source, count in plan:
        for label in CLASSES:
            for number in range(count):
                name = f"{source}_{label}_{split}_{number}"
                path = root / source / f"{name}.mkv"
                path.parent.mkdir(parents=True, exist_ok=True)
                seed = number + 1000 * sorted({one for one, _, _ in plan}).index(split)
                write_video(path, motion(label, source, seed), 25)
                rows.append(
                    {
                        "id": name,
                        "path": f"{source}/{name}.mkv",
                        "label": label,
                        "split": split,
                        "source": f"{source}_{label}_{split}_{number // 2}",
                    }
                )
    return rows


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return path
