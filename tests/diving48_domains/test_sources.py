"""Mask sources that stand in for a segmenter: what they give, and what they say to what is wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from diving48_domains.coco import decode_segmentation
from diving48_domains.instance_file import encode_clip, write_instances
from diving48_domains.instances import ClipInstances, Instance
from diving48_domains.sources import SOURCES, open_masks
from diving48_domains.tracking import track
from tsgen.common.errors import DataError, UsageError

# By hand: 4x5 px, columns one after the other, first the pixels outside.
#   . # . . .
#   . # # . .
#   . . # . .
#   . . . . .
RUNS = {"size": [4, 5], "counts": [4, 2, 3, 2, 9]}
PIXELS = np.array([[0, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]], bool)


def coco(path, images, annotations):
    rows = [{"id": k, "file_name": name, "height": 4, "width": 5} for k, name in enumerate(images, 1)]
    path.write_text(json.dumps({"images": rows, "annotations": annotations, "categories": []}))
    return path


def pixels_of(instance, height, width):
    frame = np.zeros((height, width), bool)
    x0, y0, x1, y1 = instance.box.astype(int)
    frame[y0:y1, x0:x1] = instance.mask > 127
    return frame


def test_run_lengths_by_hand():
    assert np.array_equal(decode_segmentation(RUNS, 4, 5), PIXELS)


def test_compressed_run_lengths_by_hand():
    # Each number is written as it is up to the third, then as the difference to the one two before: 4 2 3 (2-2) (9-3);
    # numbers from -16 to 15 take one character, chr(48 + (number & 31)).
    text = "".join(chr(48 + (number & 31)) for number in (4, 2, 3, 2 - 2, 9 - 3))
    assert np.array_equal(decode_segmentation({"size": [4, 5], "counts": text}, 4, 5), PIXELS)


def test_polygons_by_hand():
    # The rectangle from the corner (1, 1) to the corner (4, 3) holds 3x2 pixels.
    drawn = decode_segmentation([[1, 1, 4, 1, 4, 3, 1, 3]], 4, 5)
    expected = np.zeros((4, 5), bool)
    expected[1:3, 1:4] = True
    assert (drawn & expected).sum() == 6
    assert (drawn ^ expected).sum() <= 7  # outline pixels, which Pillow draws


@pytest.mark.parametrize("names", [["a_00001/000003.png", "a_00001/000007.png"], ["a_00001_3.png", "a_00001_7.png"]])
def test_coco_images_become_frames(tmp_path, names):
    annotations = [
        {"id": 1, "image_id": 2, "segmentation": RUNS, "score": 0.25},
        {"id": 2, "image_id": 2, "segmentation": [[0, 0, 2, 0, 2, 4, 0, 4]], "score": 0.75},
    ]
    source = open_masks(coco(tmp_path / "x.json", names, annotations))
    assert source.clip_ids == ("a_00001",)
    (clip,) = source
    assert clip.frame_indices.tolist() == [3, 7]
    assert (clip.height, clip.width) == (4, 5)
    assert [[one.score for one in frame] for frame in clip.frames] == [[], [0.75, 0.25]]
    assert np.array_equal(pixels_of(clip.frames[1][1], 4, 5), PIXELS)


def test_labels_without_scores_pass_through_tracking(tmp_path):
    annotations = [{"id": 1, "image_id": 1, "segmentation": RUNS}]
    (clip,) = open_masks(coco(tmp_path / "x.json", ["a_1/0.png", "a_1/1.png"], annotations))
    assert track(clip).divers == clip.frames


def test_colour_pictures_become_frames(tmp_path):
    painted = np.zeros((20, 30, 3), np.uint8)
    painted[2:9, 3:8] = 255, 0, 0
    painted[5:19, 12:25] = 0, 255, 0
    for clip_id, numbers in (("a_00001", (4, 12)), ("b_00002", (0,))):
        (tmp_path / clip_id).mkdir()
        for number in numbers:
            Image.fromarray(painted * (number != 12)).save(tmp_path / clip_id / f"{number:06d}.png")
    source = open_masks(tmp_path)
    first, second = source
    assert (first.clip_id, second.clip_id) == ("a_00001", "b_00002")
    assert first.frame_indices.tolist() == [4, 12]
    assert [len(frame) for frame in first.frames] == [2, 0]
    assert first.frames[0][0].box.tolist() == [12, 5, 25, 19]
    assert np.array_equal(pixels_of(first.frames[0][1], 20, 30), painted[..., 0] > 0)


def test_an_instances_file_is_a_source(tmp_path):
    clip = ClipInstances("a_1", 4, 5, np.arange(1), ((Instance.of_pixels(PIXELS),),))
    write_instances(tmp_path / "i.h5", [clip], {"source": "truth"})
    source = open_masks(tmp_path / "i.h5")
    assert [encode_clip(one) for one in source] == [encode_clip(clip)]
    assert source.facts == {"source": "truth"}
    source.close()


@pytest.mark.parametrize(
    ("names", "annotation", "message"),
    [
        (["frame.png"], {}, "names no frame"),
        (["a/x.png"], {}, "names no frame"),
        (["a/1.png", "a/01.png"], {}, "appears twice"),
        (["../1.png"], {}, "not usable"),
        (["a/1.png"], {"image_id": 9}, "which `images` lacks"),
        (["a/1.png"], {"score": "high"}, "score of an annotation"),
        (["a/1.png"], {"score": 2}, "0..1, got 2"),
        (["a/1.png"], {"score": 10**400}, "0..1, got 10000"),
        (["a/1.png"], {"score": float("nan")}, "0..1, got nan"),
        (["a/1.png"], {"segmentation": {"size": [4, 5], "counts": [int("9" * 4300)] * 2}}, "outside 0 to 20"),
        (["a/1.png"], {"segmentation": {"size": [4, 5], "counts": [4, 2]}}, "cover 6 pixels of 20"),
        (["a/1.png"], {"segmentation": {"size": [9, 9], "counts": [4, 2]}}, r"size \[4, 5\]"),
    ],
)
def test_a_wrong_coco_file_is_told(tmp_path, names, annotation, message):
    path = coco(tmp_path / "x.json", names, [{"id": 1, "image_id": 1, "segmentation": RUNS} | annotation])
    with pytest.raises(DataError, match=message):
        list(open_masks(path))


def test_wrong_pictures_are_told(tmp_path):
    place = tmp_path / "a_1"
    place.mkdir()
    with pytest.raises(UsageError, match="holds no folders"):
        open_masks(tmp_path)
    Image.fromarray(np.full((9, 9), 1, np.uint8) * np.eye(9, dtype=np.uint8)).save(place / "0.png")
    with pytest.raises(DataError, match="brightest value is 1"):
        list(open_masks(tmp_path))
    for number, size in enumerate((9, 8)):
        Image.new("RGB", (size, 9)).save(place / f"{number}.png")
    with pytest.raises(DataError, match="8x9 px, the first frame of 'a_1' has 9x9"):
        list(open_masks(tmp_path))
    Image.new("RGB", (9, 9)).save(place / "cover.png")
    with pytest.raises(DataError, match="names no frame"):
        open_masks(tmp_path)


def test_a_wrong_kind_is_told(tmp_path):
    (tmp_path / "x.txt").write_text("hello")
    for path, kind, message in (
        (tmp_path / "none", "auto", "no such file"),
        (tmp_path / "x.txt", "auto", "an instances file .* or a folder"),
        (tmp_path, "coco", "is not a COCO file"),
        (tmp_path, "pgn", "Did you mean 'png'"),
    ):
        with pytest.raises(UsageError, match=message):
            open_masks(path, kind)
    assert set(SOURCES) == {"instances", "coco", "png"}
