"""Skin, hair and clothes of everybody in the picture: divers and bystanders draw from the same tones.

A segmenter that only looks for skin and a swim suit finds the bystanders too, so it has to learn more than a colour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diving48_domains.mini.venue import Colour

SKIN: tuple[Colour, ...] = (
    (0.93, 0.75, 0.64),
    (0.88, 0.67, 0.53),
    (0.82, 0.60, 0.45),
    (0.74, 0.52, 0.37),
    (0.63, 0.42, 0.29),
    (0.50, 0.32, 0.22),
    (0.38, 0.24, 0.17),
    (0.28, 0.18, 0.13),
)
HAIR: tuple[Colour, ...] = (
    (0.06, 0.05, 0.05),
    (0.16, 0.10, 0.07),
    (0.32, 0.19, 0.10),
    (0.55, 0.38, 0.18),
    (0.72, 0.58, 0.34),
    (0.40, 0.14, 0.06),
)
SUIT: tuple[Colour, ...] = (
    (0.06, 0.08, 0.30),
    (0.75, 0.08, 0.12),
    (0.05, 0.45, 0.25),
    (0.08, 0.30, 0.75),
    (0.05, 0.05, 0.07),
    (0.50, 0.12, 0.55),
    (0.92, 0.80, 0.15),
    (0.90, 0.42, 0.08),
    (0.10, 0.60, 0.62),
    (0.86, 0.86, 0.88),
)
SHIRT: tuple[Colour, ...] = (*SUIT, (0.93, 0.93, 0.90), (0.45, 0.48, 0.52), (0.62, 0.74, 0.86), (0.90, 0.62, 0.66))
TROUSERS: tuple[Colour, ...] = ((0.12, 0.14, 0.22), (0.20, 0.25, 0.38), (0.30, 0.28, 0.26), (0.62, 0.57, 0.47))


@dataclass(frozen=True, slots=True)
class Look:
    """One person's colours: ``skin``, ``hair``, ``suit`` (a swim suit, or a shirt), ``legs`` (trousers, or skin)."""

    skin: Colour
    hair: Colour
    suit: Colour
    legs: Colour


def pick(colours: tuple[Colour, ...], rng: np.random.Generator) -> Colour:
    """One of the colours, a little off."""
    index, shift = int(rng.integers(len(colours))), rng.normal(0, 0.02, 3)
    red, green, blue = np.clip(np.array(colours[index]) + shift, 0.02, 0.97).tolist()
    return red, green, blue


def draw_look(rng: np.random.Generator, *, dressed: bool = False) -> Look:
    """A diver's look, or, ``dressed``, a spectator's. The number of draws never depends on what is drawn."""
    skin, hair, suit = pick(SKIN, rng), pick(HAIR, rng), pick(SUIT, rng)
    shirt, trousers = pick(SHIRT, rng), pick(TROUSERS, rng)
    return Look(skin, hair, shirt, trousers) if dressed else Look(skin, hair, suit, skin)
