"""The Lanczos resize against Pillow, which the published generator used, and the centring of small scans."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tsgen import entities
from tsgen.entities import centre_in_cell, resize_lanczos


def _pillow(images: np.ndarray, size_px: int) -> np.ndarray:
    lanczos = Image.Resampling.LANCZOS
    scans = [Image.fromarray(image) for image in images]
    if images.shape[1] != images.shape[2]:  # which axis comes first then depends on Pillow's version: say it
        scans = [scan.resize((size_px, scan.height), lanczos) for scan in scans]
    return np.stack([np.asarray(scan.resize((size_px, size_px), lanczos)) for scan in scans])


@pytest.mark.parametrize("size_px", [1, 2, 5, 7, 10, 13, 14, 20, 28, 29, 31, 64])
@pytest.mark.parametrize("shape", [(28, 28), (8, 8), (1, 1), (3, 17), (64, 5), (256, 256)])
def test_resize_equals_pillow_on_noise(shape: tuple[int, int], size_px: int) -> None:
    images = np.random.default_rng(shape[0] * 1000 + size_px).integers(0, 256, (6, *shape), np.uint8)
    images[1] = (images[1] > 127) * 255  # hard edges: the overshoot leaves 0..255 and is clipped
    images[2], images[3] = 0, 255
    np.testing.assert_array_equal(resize_lanczos(images, size_px), _pillow(images, size_px))


def test_resize_equals_pillow_on_many_scans_of_mnist_size() -> None:
    images = np.random.default_rng(7).integers(0, 256, (3000, 28, 28), np.uint8)
    images[::2] = (images[::2] > 127) * 255
    np.testing.assert_array_equal(resize_lanczos(images, 14), _pillow(images, 14))


def test_batches_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(3).integers(0, 256, (7, 28, 28), np.uint8)
    whole = resize_lanczos(images, 14)
    monkeypatch.setattr(entities, "BATCH_BYTES", 8 * 28 * 28 * 3)  # batches of 3, 3 and 1
    np.testing.assert_array_equal(resize_lanczos(images, 14), whole)


@pytest.mark.parametrize("view", ["transposed", "reversed", "strided"])
def test_memory_layout_of_the_input_does_not_matter(view: str) -> None:
    base = np.random.default_rng(5).integers(0, 256, (8, 28, 28), np.uint8)
    images = {"transposed": base.transpose(0, 2, 1), "reversed": base[::-1, :, ::-1], "strided": base[::2]}[view]
    resized = resize_lanczos(images, 14)
    np.testing.assert_array_equal(resized, _pillow(np.ascontiguousarray(images), 14))
    assert resized.flags.c_contiguous


def test_a_flat_image_keeps_its_level_and_one_pixel_stays_in_place() -> None:
    flat = np.full((1, 28, 28), 77, np.uint8)
    assert (resize_lanczos(flat, 14) == 77).all()
    point = np.zeros((1, 28, 28), np.uint8)
    point[0, 8:10, 20:22] = 255  # covers output pixel (row 4, column 10): rows and columns are not swapped
    assert np.unravel_index(resize_lanczos(point, 14)[0].argmax(), (14, 14)) == (4, 10)


def test_same_size_is_a_copy_and_no_images_are_no_images() -> None:
    images = np.random.default_rng(1).integers(0, 256, (2, 14, 14), np.uint8)
    resized = resize_lanczos(images, 14)
    np.testing.assert_array_equal(resized, images)
    assert not np.shares_memory(resized, images)
    assert resize_lanczos(images[:0], 9).shape == (0, 9, 9)


@pytest.mark.parametrize(
    ("images", "size_px", "message"),
    [
        (np.zeros((1, 8, 8)), 4, r"uint8 \(M, H, W\), got float64 \(1, 8, 8\)"),
        (np.zeros((8, 8), np.uint8), 4, r"got uint8 \(8, 8\)"),
        (np.zeros((1, 0, 8), np.uint8), 4, "images of 0x8 px"),
        (np.zeros((1, 8, 8), np.uint8), 0, "to 0 px"),
    ],
)
def test_resize_refuses(images: np.ndarray, size_px: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resize_lanczos(images, size_px)


@pytest.mark.parametrize(("small", "cell", "top"), [(10, 14, 2), (5, 7, 1), (14, 20, 3), (3, 4, 0), (4, 4, 0)])
def test_centring_keeps_the_image_and_adds_black(small: int, cell: int, top: int) -> None:
    images = np.random.default_rng(2).integers(1, 256, (3, small, small), np.uint8)
    centred = centre_in_cell(images, cell)
    assert centred.shape == (3, cell, cell)
    np.testing.assert_array_equal(centred[:, top : top + small, top : top + small], images)
    assert int(centred.sum(dtype=np.int64)) == int(images.sum(dtype=np.int64))


def test_centring_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="15x15 px do not fit in a cell of 14 px"):
        centre_in_cell(np.zeros((1, 15, 15), np.uint8), 14)
