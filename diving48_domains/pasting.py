"""A mask stretched over its box, in the pixels of the frame.

A soft mask (Mask R-CNN's 28x28) is placed as ``torchvision.models.detection.roi_heads.paste_masks_in_image`` places it,
so that a threshold means what it means in the published pipeline (Appendix A.3 of the paper): one zero is padded on
each side, the box grows by the same factor, its corners are cut to whole pixels, and the mask is stretched over it
bilinearly. An exact mask (ground truth) is copied.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from diving48_domains.instances import Instance
from tsgen.common.errors import DataError

PADDING = 1


def paste(instance: Instance, height: int, width: int) -> tuple[int, int, int, int, NDArray[np.uint8]]:
    """Where the instance's mask lies in a frame of ``height`` x ``width`` px, and its values there.

    Returns ``(y0, y1, x0, x1, soft)``: half-open pixel bounds inside the frame and uint8 ``(y1 - y0, x1 - x0)``,
    255 = certain; outside the bounds the mask is 0. Soft values differ from torchvision's by at most 1/255. Raises
    DataError for an exact mask that leaves the frame.
    """
    if instance.is_exact:
        x0, y0, x1, y1 = (int(value) for value in instance.box.tolist())
        if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
            raise DataError(f"the mask at {instance.box.tolist()} leaves the frame of {width}x{height}.")
        return y0, y1, x0, x1, instance.mask.copy()
    left, top, right, bottom = grown_box(instance)
    y0, y1 = max(top, 0), min(bottom + 1, height)
    x0, x1 = max(left, 0), min(right + 1, width)
    if y0 >= y1 or x0 >= x1:
        return 0, 0, 0, 0, np.zeros((0, 0), dtype=np.uint8)
    soft = np.empty((y1 - y0, x1 - x0), dtype=np.uint8)
    size = max(bottom - top + 1, 1), max(right - left + 1, 1)
    _stretch(np.ascontiguousarray(instance.mask), size[0], size[1], y0 - top, x0 - left, soft)
    return y0, y1, x0, x1, soft


def paste_union(
    instances: tuple[Instance, ...], height: int, width: int, out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """The pixelwise maximum of the pasted masks: uint8 (height, width); ``out`` is overwritten where it is given."""
    frame = np.zeros((height, width), dtype=np.uint8) if out is None else out
    if out is not None:
        frame[:] = 0
    for instance in instances:
        y0, y1, x0, x1, soft = paste(instance, height, width)
        view = frame[y0:y1, x0:x1]
        np.maximum(view, soft, out=view)
    return frame


def grown_box(instance: Instance) -> tuple[int, int, int, int]:
    """``(left, top, right, bottom)``: the first and last whole pixel that the padded soft mask is stretched over.

    In float32 and cut towards zero, as torchvision's ``expand_boxes(...).to(torch.int64)``.
    """
    x0, y0, x1, y1 = instance.box
    height, width = instance.mask.shape
    half = np.float32(0.5)
    half_width = (x1 - x0) * half * np.float32((width + 2 * PADDING) / width)
    half_height = (y1 - y0) * half * np.float32((height + 2 * PADDING) / height)
    centre_x, centre_y = (x1 + x0) * half, (y1 + y0) * half
    return (
        int(centre_x - half_width),
        int(centre_y - half_height),
        int(centre_x + half_width),
        int(centre_y + half_height),
    )


@njit(nogil=True, cache=True)
def _stretch(mask: NDArray[np.uint8], height: int, width: int, top: int, left: int, out: NDArray[np.uint8]) -> None:
    """The window of ``out``'s size at (top, left) of ``mask``, padded by zeros, stretched to ``height`` x ``width``.

    Bilinear with ``align_corners=False``: pixel centres are mapped to pixel centres, the edge is repeated.
    """
    rows, columns = mask.shape[0] + 2 * PADDING, mask.shape[1] + 2 * PADDING
    scale_y, scale_x = np.float32(rows) / np.float32(height), np.float32(columns) / np.float32(width)
    half, one, zero = np.float32(0.5), np.float32(1), np.float32(0)
    first = np.empty(out.shape[1], dtype=np.int64)
    weight = np.empty(out.shape[1], dtype=np.float32)
    for j in range(out.shape[1]):
        at = max((np.float32(j + left) + half) * scale_x - half, zero)
        first[j] = min(int(at), columns - 1)
        weight[j] = min(at - np.float32(first[j]), one)
    line = np.zeros(columns + 1, dtype=np.float32)  # one more, for the right neighbour of the last column
    for i in range(out.shape[0]):
        at = max((np.float32(i + top) + half) * scale_y - half, zero)
        upper = min(int(at), rows - 1)
        share = at - np.float32(upper)
        lower = min(upper + 1, rows - 1)
        above, below = upper - PADDING, lower - PADDING
        for column in range(mask.shape[1]):
            high = np.float32(mask[above, column]) if 0 <= above < mask.shape[0] else zero
            low = np.float32(mask[below, column]) if 0 <= below < mask.shape[0] else zero
            line[column + PADDING] = high * (one - share) + low * share
        for j in range(out.shape[1]):
            here = first[j]
            value = line[here] * (one - weight[j]) + line[here + 1] * weight[j]
            out[i, j] = np.uint8(value + half)
