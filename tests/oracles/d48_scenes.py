"""A tiny folder in Diving48's form whose divers are known: a bright disc that falls over a textured wall."""

from __future__ import annotations

import hashlib

import numpy as np

from diving48_domains.annotations import ClipEntry, open_folder, write_list, write_vocab
from diving48_domains.instance_file import write_instances
from diving48_domains.instances import ClipInstances, Instance
from diving48_domains.video import write_video

HEIGHT, WIDTH = 48, 64
DIVER_RGB = (250, 120, 60)
CLIPS = {  # clip id -> (label, frames of the video, frames without a detection)
    "videoAAAAAA_00001": (0, 40, ()),
    "videoAAAAAA_00002": (3, 20, ()),  # shorter than 32 frames
    "videoBBBBBB_00003": (17, 40, tuple(range(14, 27))),  # a gap too long to interpolate
    "videoBBBBBB_00004": (34, 40, tuple(range(40))),  # nothing was found
    "videoCCCCCC_00005": (41, 40, (20, 21)),  # a gap short enough
}


def disc(t, num_frames):
    """bool (H, W): the diver in frame t."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    centre_y, centre_x = 8 + 30 * t / num_frames, 20 + 20 * t / num_frames
    return (y - centre_y) ** 2 + (x - centre_x) ** 2 < 36


def frames_of(clip_id):
    """uint8 (T, H, W, 3): a wall of its own for each clip, and the diver."""
    number, num_frames = int(clip_id[-5:]), CLIPS[clip_id][1]
    wall = np.random.default_rng(number).integers(0, 120, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    frames = np.repeat(wall[None], num_frames, axis=0)
    for t in range(num_frames):
        frames[t][disc(t, num_frames)] = DIVER_RGB
    return frames


def soft_instance(pixels, score=0.9):
    """What a network would give: a grey 28x28 mask over a box."""
    exact = Instance.of_pixels(pixels)
    y, x = np.mgrid[:28, :28]
    mask = 255 * np.clip(1.6 - np.hypot(y - 13.5, x - 13.5) / 13, 0, 1)
    return Instance(exact.box, score, mask.astype(np.uint8))


def instances_of(clip_id, exact, sha256=""):
    _, num_frames, lost = CLIPS[clip_id]
    frames = []
    for t in range(num_frames):
        pixels = disc(t, num_frames)
        if exact:
            frames.append((Instance.of_pixels(pixels),))
        else:
            frames.append(() if t in lost else (soft_instance(pixels),))
    return ClipInstances(clip_id, HEIGHT, WIDTH, np.arange(num_frames), tuple(frames), sha256)


def write_folder(root):
    """Videos, lists, ``truth.h5`` (exact) and ``found.h5`` (soft, with frames lost). Returns the DivingFolder."""
    (root / "rgb").mkdir(parents=True)
    hashes = {}
    for clip_id in CLIPS:
        path = root / "rgb" / f"{clip_id}.mkv"
        write_video(path, frames_of(clip_id), 25)
        hashes[clip_id] = hashlib.sha256(path.read_bytes()).hexdigest()
    write_list(root / "Diving48_V2_test.json", [ClipEntry(one, CLIPS[one][0], 0, CLIPS[one][1]) for one in CLIPS])
    write_vocab(root / "Diving48_vocab.json")
    write_instances(root / "truth.h5", [instances_of(one, True, hashes[one]) for one in CLIPS], {"source": "truth"})
    write_instances(root / "found.h5", [instances_of(one, False, hashes[one]) for one in CLIPS], {"source": "soft"})
    return open_folder(root)
