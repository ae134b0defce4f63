"""The domains S1, S2 and T (section 3.3, Appendix A.3) and the controls beside them, from frames and divers.

S1 keeps the diver's own pixels over a blurred background, S2 the diver's box; T keeps the background and fills the box.
Pure: nothing here reads a file or knows where the divers come from. What deviates from the published procedure is an
option; :data:`FAITHFUL` has all of them as published.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diving48_domains.blur import blurred, blurred_where, check_blur
from diving48_domains.instances import Instance
from diving48_domains.pasting import paste, paste_union
from tsgen.common.errors import DataError, UsageError, unknown_name

Frame = NDArray[np.uint8]
Colour = tuple[int, int, int]
Bounds = tuple[int, int, int, int]
"""Rows and columns ``(y0, y1, x0, x1)`` in px, half open, inside the frame."""
Divers = Sequence[Sequence[Instance]]
"""For each frame its instances."""

IMAGENET_MEAN: Colour = (124, 117, 104)
"""The average pixel of ImageNet as RGB: what T is filled with."""
BOX_SHAPES = {
    "box": "the detection's box, grown by box_expand of its size on each side",
    "mask": "as published: every pixel where the mask stretched over the frame is above 0",
}


def check_threshold(value: float) -> None:
    """UsageError unless the mask threshold t lies in [0, 1)."""
    if not (math.isfinite(value) and 0 <= value < 1):
        raise UsageError(f"the mask threshold t lies in [0, 1): 0 keeps boxes, 0.4 is the paper's S1; got {value}.")


@dataclass(frozen=True, slots=True)
class DomainOptions:
    """How domains are composed.

    ``mask_threshold`` t in [0, 1): S1 shows pixels whose mask is above t; t = 0 means boxes, as in S2.
    ``box_shape``: one of BOX_SHAPES; ``box_expand``: share of the box's width and height, 0 to 1; a 28x28 mask is
    stretched over a box grown by 1/28 a side, so smaller boxes cut off what S1 shows. ``blur_sigma_px`` and the odd
    ``blur_size_px``: the background's Gaussian. ``blur_excludes_foreground``: leave what is shown out of the blur, so
    that no halo of the diver's colours surrounds it. ``fill_rgb``: of the boxes in T, T_union and B; ``flat_rgb``: the
    background of B. ``fill_empty``: frames without a diver are filled wholly in T and T_union instead of shown.
    """

    mask_threshold: float = 0.4
    box_shape: str = "box"
    box_expand: float = 1 / 28
    blur_sigma_px: float = 15.0
    blur_size_px: int = 55
    blur_excludes_foreground: bool = False
    fill_rgb: Colour = IMAGENET_MEAN
    flat_rgb: Colour = (0, 0, 0)
    fill_empty: bool = False

    def __post_init__(self) -> None:
        check_threshold(self.mask_threshold)
        if self.box_shape not in BOX_SHAPES:
            raise unknown_name("box shape", self.box_shape, BOX_SHAPES)
        if not 0 <= self.box_expand <= 1:
            raise UsageError(f"box_expand is a share of the box from 0 to 1, got {self.box_expand}.")
        check_blur(self.blur_sigma_px, self.blur_size_px)
        for name in ("fill_rgb", "flat_rgb"):
            value = tuple(getattr(self, name))
            if len(value) != 3 or not all(isinstance(level, int) and 0 <= level <= 255 for level in value):
                raise UsageError(f"{name} is three whole numbers from 0 to 255, got {value}.")
            object.__setattr__(self, name, value)


FAITHFUL = DomainOptions(box_shape="mask")
"""The published composition. The published choice of instances belongs to the tracks, size and codec to the build."""


def box_bounds(instance: Instance, options: DomainOptions, height: int, width: int) -> Bounds:
    """The whole pixels of an instance's grown box inside a frame of ``height`` x ``width`` px."""
    x0, y0, x1, y1 = (float(value) for value in instance.box)
    grow_x, grow_y = options.box_expand * (x1 - x0), options.box_expand * (y1 - y0)
    return (
        max(math.floor(y0 - grow_y), 0),
        min(math.ceil(y1 + grow_y), height),
        max(math.floor(x0 - grow_x), 0),
        min(math.ceil(x1 + grow_x), width),
    )


def box_pixels(instances: Sequence[Instance], options: DomainOptions, height: int, width: int) -> NDArray[np.bool_]:
    """bool (H, W): what S2 shows and T fills."""
    pixels = np.zeros((height, width), dtype=np.bool_)
    for one in instances:
        if options.box_shape == "mask":
            y0, y1, x0, x1, soft = paste(one, height, width)
            pixels[y0:y1, x0:x1] |= soft > 0
        else:
            y0, y1, x0, x1 = box_bounds(one, options, height, width)
            pixels[y0:y1, x0:x1] = True
    return pixels


def shape_pixels(instances: Sequence[Instance], options: DomainOptions, height: int, width: int) -> NDArray[np.bool_]:
    """bool (H, W): what S1 shows, the masks above t; the boxes where t = 0."""
    if options.mask_threshold == 0:
        return box_pixels(instances, options, height, width)
    return paste_union(tuple(instances), height, width) > math.floor(options.mask_threshold * 255)


def union_bounds(divers: Divers, options: DomainOptions, height: int, width: int) -> Bounds | None:
    """The one box around all boxes of a clip; None where there is no diver in any frame."""
    bounds = [box_bounds(one, options, height, width) for instances in divers for one in instances]
    if not bounds:
        return None
    y0, y1, x0, x1 = zip(*bounds, strict=True)
    return min(y0), max(y1), min(x0), max(x1)


@dataclass(frozen=True)
class Scene:
    """One frame and its divers; each part is made when a domain first asks for it, and shared by all that do.

    ``shown``: instances that S1 and S2 keep; ``filled``: instances that T and B fill (the same but for the published
    procedure); ``union``: T_union's bounds.
    """

    frame: Frame
    shown: Sequence[Instance]
    filled: Sequence[Instance]
    union: Bounds | None
    options: DomainOptions

    @functools.cached_property
    def _blurred(self) -> Frame:
        return blurred(self.frame, self.options.blur_sigma_px, self.options.blur_size_px)

    def over_blur(self, pixels: NDArray[np.bool_]) -> Frame:
        """The frame at ``pixels`` (bool (H, W)), the blurred background elsewhere."""
        if self.options.blur_excludes_foreground:
            background = blurred_where(self.frame, ~pixels, self.options.blur_sigma_px, self.options.blur_size_px)
        else:
            background = self._blurred.copy()
        np.copyto(background, self.frame, where=pixels[:, :, None])
        return background

    @functools.cached_property
    def _fill(self) -> NDArray[np.bool_]:
        return box_pixels(self.filled, self.options, *self.frame.shape[:2])

    def original(self) -> Frame:
        return self.frame.copy()

    def shape(self) -> Frame:
        return self.over_blur(shape_pixels(self.shown, self.options, *self.frame.shape[:2]))

    def box(self) -> Frame:
        return self.over_blur(box_pixels(self.shown, self.options, *self.frame.shape[:2]))

    def texture(self) -> Frame:
        if not self.filled and self.options.fill_empty:
            return self._flat(self.options.fill_rgb)
        out = self.frame.copy()
        out[self._fill] = self.options.fill_rgb
        return out

    def texture_union(self) -> Frame:
        if self.union is None:
            return self._flat(self.options.fill_rgb) if self.options.fill_empty else self.frame.copy()
        y0, y1, x0, x1 = self.union
        out = self.frame.copy()
        out[y0:y1, x0:x1] = self.options.fill_rgb
        return out

    def geometry(self) -> Frame:
        out = self._flat(self.options.flat_rgb)
        out[self._fill] = self.options.fill_rgb
        return out

    def _flat(self, colour: Colour) -> Frame:
        return np.full_like(self.frame, np.array(colour, dtype=np.uint8))


@dataclass(frozen=True, slots=True)
class Domain:
    """A row of DOMAINS: what a reader is told, where the paper has it, and how a frame is made."""

    title: str
    section: str
    make: Callable[[Scene], Frame]


DOMAINS: dict[str, Domain] = {
    "O": Domain("the stored frame itself, never re-encoded", "control", Scene.original),
    "C": Domain("no edit, written as the edited domains are", "control", Scene.original),
    "S1": Domain("the diver's pixels over a blurred background", "section 3.3", Scene.shape),
    "S2": Domain("the diver's box over a blurred background", "section 3.3", Scene.box),
    "T": Domain("the background, the diver's box filled", "section 3.3", Scene.texture),
    "T_union": Domain("as T, with one box for the whole clip: no motion of the box", "control", Scene.texture_union),
    "B": Domain("the moving box alone on a flat background", "control", Scene.geometry),
}


def check_domains(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each once and in the order of DOMAINS. UsageError for an unknown one or none."""
    for name in names:
        if name not in DOMAINS:
            raise unknown_name("domain", name, DOMAINS)
    if not names:
        raise UsageError(f"no domain is asked for; allowed: {', '.join(DOMAINS)}.")
    return tuple(name for name in DOMAINS if name in names)


def compose_frames(
    frames: NDArray[np.uint8],
    shown: Divers,
    options: DomainOptions,
    names: Sequence[str],
    filled: Divers | None = None,
) -> Iterator[dict[str, Frame]]:
    """For each frame its versions by domain, uint8 (H, W, 3) each; one frame in memory at a time.

    ``frames`` uint8 (T, H, W, 3) RGB; ``shown``: T lists of divers for S1 and S2; ``filled``: for T, T_union and B
    where they differ (the published procedure fills every detection). The background is blurred once a frame.
    """
    names, filled = check_domains(names), shown if filled is None else filled
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
        raise DataError(f"frames are uint8 (T, H, W, 3), got {frames.dtype} {frames.shape}.")
    if not len(frames) == len(shown) == len(filled):
        raise DataError(f"{len(frames)} frames, divers of {len(shown)} and fills of {len(filled)} frames.")
    union = union_bounds(filled, options, *frames.shape[1:3])
    for frame, kept, hidden in zip(frames, shown, filled, strict=True):
        scene = Scene(frame, kept, hidden, union, options)
        yield {name: DOMAINS[name].make(scene) for name in names}


def compose(
    frames: NDArray[np.uint8],
    shown: Divers,
    options: DomainOptions,
    names: Sequence[str],
    filled: Divers | None = None,
) -> dict[str, NDArray[np.uint8]]:
    """As :func:`compose_frames`, stacked: name -> uint8 (T, H, W, 3)."""
    out = {name: np.empty_like(frames) for name in check_domains(names)}
    for number, versions in enumerate(compose_frames(frames, shown, options, names, filled)):
        for name, frame in versions.items():
            out[name][number] = frame
    return out
