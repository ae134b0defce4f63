"""Labelled frames in the colour form and the COCO form, exact and blurred by JPEG."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image, ImageDraw

from diving48_domains.coco import decode_segmentation, encode_runs, read_coco, write_coco
from diving48_domains.labels import PALETTE, group_of_stem, masks_of_colours, read_labels, write_label, write_labels
from tsgen.common.errors import DataError, UsageError

HEIGHT, WIDTH = 120, 160


def divers(*shapes: tuple[int, int, int, int]) -> np.ndarray:
    """bool (D, H, W): an ellipse with a limb per (x0, y0, x1, y1)."""
    masks = []
    for x0, y0, x1, y1 in shapes:
        canvas = Image.new("L", (WIDTH, HEIGHT))
        draw = ImageDraw.Draw(canvas)
        draw.ellipse((x0, y0, x1, y1), fill=1)
        draw.line((x0, y0, x1, y1), fill=1, width=5)
        masks.append(np.array(canvas) > 0)
    return np.array(masks, dtype=bool).reshape(-1, HEIGHT, WIDTH)


TWO = divers((20, 20, 70, 60), (90, 50, 120, 110))


def picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return (one & other).sum() / (one | other).sum()


@pytest.fixture
def folder(tmp_path):
    write_label(tmp_path, "-8Vxl6mhCU_00001_000012", picture(1), TWO)
    write_label(tmp_path, "-8Vxl6mhCU_00001_000040", picture(2), divers())
    write_label(tmp_path, "AB_12_xyz-9_00002_000007", picture(3), TWO[:1])
    return tmp_path


def test_round_trip(folder, tmp_path):
    frames = read_labels(folder)
    assert [len(frame.masks) for frame in frames] == [2, 0, 1]
    assert [frame.group for frame in frames] == ["-8Vxl6mhCU", "-8Vxl6mhCU", "AB_12_xyz-9"]
    assert np.array_equal(frames[0].masks, TWO) and TWO[0].sum() > TWO[1].sum()
    assert np.array_equal(frames[2].read_image(), picture(3))
    assert write_labels(tmp_path / "copy", frames) == 3
    for frame, copy in zip(frames, read_labels(tmp_path / "copy"), strict=True):
        assert frame.stem == copy.stem and np.array_equal(frame.masks, copy.masks)


def test_many_divers_keep_their_own_colours(tmp_path):
    shapes = [(10 + 45 * (i % 3), 5 + 38 * (i // 3), 40 + 45 * (i % 3), 30 + 38 * (i // 3)) for i in range(8)]
    masks = divers(*shapes)
    write_label(tmp_path, "a", picture(), masks)
    found = read_labels(tmp_path)[0].masks
    assert sorted(mask.tobytes() for mask in found) == sorted(mask.tobytes() for mask in masks)


@pytest.mark.parametrize("quality", [95, 75, 50])
def test_jpeg_colours_are_told_apart(tmp_path, quality):
    """What a mask becomes when saved as JPEG: thousands of colours, the divers' shapes within a pixel."""
    painted = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for colour, mask in zip(PALETTE, TWO, strict=False):
        painted[mask] = colour
    Image.fromarray(painted).save(tmp_path / "mask.jpg", quality=quality)
    blurred = np.asarray(Image.open(tmp_path / "mask.jpg"))
    assert len(np.unique(blurred.reshape(-1, 3), axis=0)) > 100
    found = masks_of_colours(blurred)
    assert len(found) == 2 and all(iou(*pair) > 0.93 for pair in zip(found, TWO, strict=True))


def test_smooth_edges_are_no_third_diver():
    painted = np.zeros((4 * HEIGHT, 4 * WIDTH, 3), np.uint8)
    for colour, mask in zip(((200, 30, 30), (30, 200, 30)), TWO, strict=True):
        painted[np.kron(mask, np.ones((4, 4), bool))] = colour
    small = np.asarray(Image.fromarray(painted).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    found = masks_of_colours(small)
    assert len(found) == 2 and all(iou(*pair) > 0.93 for pair in zip(found, TWO, strict=True))


def test_a_photograph_on_black_is_no_mask():
    painted = picture()
    painted[:, : WIDTH // 2] = 0
    with pytest.raises(DataError, match="of its pixels have a colour of their own"):
        masks_of_colours(painted)


def test_files_that_do_not_pair_are_named(folder):
    (folder / "masks" / "AB_12_xyz-9_00002_000007.png").rename(folder / "masks" / "other.png")
    with pytest.raises(DataError, match=r"images/AB_12_xyz-9_00002_000007.png, masks/other.png without a partner"):
        read_labels(folder)


def test_two_files_of_one_stem_are_refused(folder):
    Image.fromarray(picture()).save(folder / "images" / "AB_12_xyz-9_00002_000007.jpg")
    with pytest.raises(DataError, match="have one stem; keep one"):
        read_labels(folder)


def test_wrong_folders(folder, tmp_path):
    with pytest.raises(UsageError, match="has no images/"):
        read_labels(folder / "images")
    (tmp_path / "empty" / "images").mkdir(parents=True)
    with pytest.raises(UsageError, match="holds no picture"):
        read_labels(tmp_path / "empty")


def test_swapped_folders_are_noticed(folder):
    for old, new in (("images", "x"), ("masks", "images"), ("x", "masks")):
        (folder / old).rename(folder / new)
    with pytest.raises(DataError, match=r"black fills \d+% of it.*Are images/ and masks/ swapped\?"):
        read_labels(folder)


def test_sizes_that_differ_and_damage_are_named(folder):
    path = folder / "images" / "AB_12_xyz-9_00002_000007.png"
    Image.fromarray(picture()[:100]).save(path)
    with pytest.raises(DataError, match=r"has 160x100 px, .*masks.* 160x120"):
        read_labels(folder)
    path.write_bytes(b"GIF89a nonsense")
    with pytest.raises(DataError, match="no readable PNG or JPEG"):
        read_labels(folder)
    write_label(folder, path.stem, picture(), TWO)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="no readable PNG or JPEG"):
        read_labels(folder)[2].read_image()


def test_what_the_colour_form_cannot_hold_is_refused(tmp_path):
    with pytest.raises(UsageError, match="masks overlap"):
        write_label(tmp_path, "a", picture(), np.stack([TWO[0], TWO[0]]))
    with pytest.raises(UsageError, match="9 divers; the colour form holds at most 8"):
        write_label(tmp_path, "a", picture(), np.zeros((9, HEIGHT, WIDTH), bool))
    with pytest.raises(UsageError, match="does not fit"):
        write_label(tmp_path, "a", picture(), TWO[:, :50])


def test_the_group_of_a_stem():
    assert group_of_stem("AB_12_xyz-9_00002_000007") == "AB_12_xyz-9"
    assert group_of_stem("ab_12345678_00001_0042") == "ab_12345678"
    assert group_of_stem("ab_12345678_00001") == "ab_12345678"
    assert group_of_stem("pool_3_17") == "pool"
    assert group_of_stem("frame17") == "frame17"


def test_coco_round_trip(folder):
    frames = read_labels(folder)
    assert write_coco(folder / "labels.json", frames) == 3
    for frame, copy in zip(frames, read_coco(folder / "labels.json", folder), strict=True):
        assert (frame.stem, frame.group, frame.image) == (copy.stem, copy.group, copy.image)
        assert np.array_equal(frame.masks, copy.masks)
    box = json.loads((folder / "labels.json").read_text())["annotations"][0]["bbox"]
    rows, columns = np.nonzero(TWO[0])
    assert box == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]


def test_run_lengths_go_down_the_columns():
    mask = np.array([[0, 1], [1, 1]], bool)
    assert encode_runs(mask) == {"size": [2, 2], "counts": [1, 3]}
    assert encode_runs(~mask)["counts"] == [0, 1, 3]
    for one in (mask, ~mask, mask & False, mask | True, TWO[1]):
        assert np.array_equal(decode_segmentation(encode_runs(one), *one.shape), one)


def test_compressed_run_lengths_of_the_coco_api():
    """Texts made by the COCO API (its rleToString rule, written down independently here)."""

    def compress(counts: list[int]) -> str:
        text = ""
        for position, count in enumerate(counts):
            value = count - (counts[position - 2] if position > 2 else 0)
            more = True
            while more:
                bits = value & 31
                value >>= 5
                more = value != -1 if bits & 16 else value != 0
                text += chr((bits | 32 if more else bits) + 48)
        return text

    assert compress([3, 5, 1]) == "351"
    for mask in TWO:
        runs = encode_runs(mask)
        packed = {"size": runs["size"], "counts": compress(runs["counts"])}
        assert np.array_equal(decode_segmentation(packed, HEIGHT, WIDTH), mask)


def test_polygons_cover_pixels_by_their_centres():
    square = [10, 20, 40, 20, 40, 50, 10, 50]
    mask = decode_segmentation([square], HEIGHT, WIDTH)
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[20:50, 10:40] = True
    assert iou(mask, expected) > 0.93 and mask[20:50, 10:40].all()
    both = decode_segmentation([square, [100, 20, 140, 20, 120, 60]], HEIGHT, WIDTH)
    assert both[30, 20] and both[30, 120] and not both[30, 70]


GOOD = {"images": [{"id": 1, "file_name": "a.png", "height": 4, "width": 5}], "annotations": []}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": []}, "non-empty list `images`"),
        ({"annotations": None}, "a list `annotations`"),
        ({"images": [{**GOOD["images"][0], "height": 10**9}]}, "are no picture's size"),
        ({"images": [{**GOOD["images"][0], "file_name": "../a.png"}]}, "leaves the folder"),
        ({"images": [{**GOOD["images"][0], "file_name": "b.png"}]}, "does not exist"),
        ({"images": GOOD["images"] * 2}, "the id 1 appears twice"),
        ({"annotations": [{"image_id": 2}]}, "belongs to image 2, which `images` lacks"),
        ({"annotations": [{"image_id": 1, "segmentation": []}]}, "a segmentation is a list of polygons"),
        ({"annotations": [{"image_id": 1, "segmentation": [[1, 2, 3]]}]}, "3 or more x, y pairs"),
        ({"annotations": [{"image_id": 1, "segmentation": [[1, 2, 3, 4, 5, 1e300]]}]}, "far outside"),
        ({"annotations": [{"image_id": 1, "segmentation": {"size": [4, 5], "counts": [19]}}]}, "cover 19 pixels of 20"),
        ({"annotations": [{"image_id": 1, "segmentation": {"size": [4, 5], "counts": [25, -5]}}]}, "outside 0 to 20"),
        ({"annotations": [{"image_id": 1, "segmentation": {"size": [4, 5], "counts": "~~"}}]}, "no compressed"),
        ({"annotations": [{"image_id": 1, "segmentation": {"size": [4, 5], "counts": "o"}}]}, "inside a number"),
        ({"annotations": [{"image_id": 1, "segmentation": {"size": [5, 4], "counts": [20]}}]}, r"with size \[4, 5\]"),
    ],
)
def test_bad_coco_is_refused_by_name(tmp_path, change, message):
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "a.png")
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(GOOD))
    assert read_coco(path, tmp_path)[0].masks.shape == (0, 4, 5)
    path.write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(DataError, match=message) as caught:
        read_coco(path, tmp_path)
    assert str(path) in str(caught.value)
