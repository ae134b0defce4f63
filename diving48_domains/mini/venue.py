"""Where the dives take place: sixteen pools that a model can learn to tell apart, and hence the texture a bias can use.

A venue is a literal row: its wall, stands, banners, tower, light and water. What changes from clip to clip within a
venue is drawn in :mod:`scene`. Colours are RGB in 0..1, lengths in metres (the world of :mod:`camera`).
"""

from __future__ import annotations

from dataclasses import dataclass

from tsgen.common.errors import UsageError

Colour = tuple[float, float, float]

WALLS = ("panels", "brick", "tiles", "glass", "concrete", "wood", "outdoor", "drapes", "metal", "mural")


@dataclass(frozen=True, slots=True)
class Venue:
    """One pool.

    ``wall`` is one of :data:`WALLS` in the colours ``wall_colours`` (ground, second, accent), ``wall_m`` behind the
    board; ``pool_m`` is how far the water reaches behind it. ``tiers``: (lowest, highest) of each stand of spectators,
    ``crowd`` the share of seats taken. ``banners``: (height of the lower edge, height, colour, second colour), repeated
    along the wall. ``board`` colours the board, ``tower`` what carries it, in ``tower_style`` columns, lattice or slab.
    ``light`` tints everything, ``sun`` (right, up, towards the camera) is where it comes from, ``contrast`` its share
    against the ambient light. ``water`` is (deep, shallow); ``pillars`` is their spacing along the wall, 0 for none.
    """

    name: str
    wall: str
    wall_colours: tuple[Colour, Colour, Colour]
    wall_m: float
    pool_m: float
    deck: Colour
    tiers: tuple[tuple[float, float], ...]
    crowd: float
    banners: tuple[tuple[float, float, Colour, Colour], ...]
    board: Colour
    tower: Colour
    tower_style: str
    light: Colour
    sun: tuple[float, float, float]
    contrast: float
    water: tuple[Colour, Colour]
    pillars: float
    flags: bool

    def __post_init__(self) -> None:
        if self.wall not in WALLS:
            raise UsageError(f"the venue {self.name!r}: a wall is one of {', '.join(WALLS)}, got {self.wall!r}.")
        if not 0 < self.pool_m < self.wall_m:
            raise UsageError(f"the venue {self.name!r}: the pool of {self.pool_m} m must end before the wall.")


WHITE: Colour = (0.93, 0.94, 0.93)
NAVY: Colour = (0.06, 0.10, 0.28)
RED: Colour = (0.78, 0.10, 0.12)
YELLOW: Colour = (0.94, 0.76, 0.12)
GREEN: Colour = (0.06, 0.48, 0.27)
SKY: Colour = (0.16, 0.55, 0.83)
ORANGE: Colour = (0.93, 0.45, 0.10)
BLACK: Colour = (0.07, 0.07, 0.08)
PURPLE: Colour = (0.36, 0.14, 0.52)
STEEL: Colour = (0.55, 0.58, 0.61)
CONCRETE: Colour = (0.62, 0.61, 0.58)
SAND: Colour = (0.80, 0.72, 0.57)
BRICK: Colour = (0.30, 0.20, 0.16)
OAK: Colour = (0.40, 0.29, 0.20)
PALE: Colour = (0.75, 0.80, 0.84)
PINK: Colour = (0.88, 0.40, 0.70)
COBALT: Colour = (0.16, 0.40, 0.66)
BLUE_WATER = ((0.02, 0.22, 0.52), (0.10, 0.52, 0.80))
TEAL_WATER = ((0.02, 0.30, 0.36), (0.16, 0.62, 0.64))
GREEN_WATER = ((0.05, 0.28, 0.22), (0.25, 0.58, 0.45))
DARK_WATER = ((0.01, 0.08, 0.24), (0.05, 0.28, 0.52))
PALE_WATER = ((0.16, 0.46, 0.62), (0.45, 0.76, 0.85))

# fmt: off
VENUES: tuple[Venue, ...] = (
    Venue("university hall", "panels", ((0.72, 0.78, 0.76), (0.58, 0.68, 0.68), (0.85, 0.90, 0.88)), 12, 7,
          (0.66, 0.68, 0.66), ((6.2, 9.2),), 0.6, ((4.6, 0.9, GREEN, WHITE),), WHITE, STEEL, "columns",
          (0.98, 1.0, 0.98), (-0.5, 0.7, 0.5), 0.55, BLUE_WATER, 6.0, False),
    Venue("brick baths", "brick", ((0.55, 0.27, 0.20), (0.47, 0.22, 0.17), (0.75, 0.68, 0.60)), 9, 6,
          (0.72, 0.62, 0.50), (), 0.0, ((2.2, 0.7, WHITE, NAVY), (6.5, 0.8, NAVY, YELLOW)), SAND, BRICK, "slab",
          (1.0, 0.93, 0.82), (0.6, 0.6, 0.5), 0.6, GREEN_WATER, 4.0, False),
    Venue("white tiles", "tiles", ((0.86, 0.90, 0.92), (0.20, 0.48, 0.70), (0.96, 0.97, 0.97)), 8, 5,
          (0.82, 0.86, 0.88), (), 0.0, ((3.4, 0.5, SKY, WHITE),), (0.85, 0.90, 0.95), WHITE, "slab",
          (0.96, 1.0, 1.04), (0.0, 0.9, 0.4), 0.4, PALE_WATER, 0.0, True),
    Venue("glass front", "glass", ((0.70, 0.84, 0.95), (0.33, 0.47, 0.30), (0.22, 0.25, 0.28)), 13, 8,
          (0.58, 0.60, 0.62), (), 0.0, ((0.9, 0.9, RED, WHITE),), WHITE, (0.35, 0.38, 0.42), "lattice",
          (1.0, 1.0, 0.98), (-0.8, 0.5, -0.1), 0.7, TEAL_WATER, 0.0, False),
    Venue("arena by night", "drapes", ((0.05, 0.06, 0.14), (0.10, 0.11, 0.26), (0.22, 0.24, 0.60)), 14, 8,
          (0.16, 0.18, 0.26), ((1.6, 11.5),), 0.9, ((0.5, 0.8, SKY, WHITE),), SKY, NAVY, "columns",
          (0.86, 0.92, 1.12), (0.3, 0.9, 0.4), 0.75, DARK_WATER, 0.0, False),
    Venue("open air", "outdoor", ((0.42, 0.66, 0.92), (0.20, 0.38, 0.17), (0.95, 0.96, 0.98)), 16, 8,
          (0.78, 0.75, 0.68), (), 0.0, ((0.6, 0.9, YELLOW, RED),), WHITE, (0.86, 0.87, 0.88), "lattice",
          (1.10, 1.05, 0.94), (0.6, 0.75, 0.35), 0.8, BLUE_WATER, 0.0, True),
    Venue("concrete centre", "concrete", ((0.52, 0.51, 0.49), (0.42, 0.41, 0.40), (0.66, 0.65, 0.62)), 11, 7,
          (0.50, 0.49, 0.47), ((4.2, 6.6),), 0.35, ((2.6, 0.9, ORANGE, BLACK),), ORANGE, CONCRETE, "slab",
          (1.02, 0.98, 0.92), (-0.4, 0.8, 0.3), 0.6, GREEN_WATER, 7.0, False),
    Venue("nordic wood", "wood", ((0.66, 0.47, 0.29), (0.52, 0.36, 0.22), (0.84, 0.70, 0.50)), 10, 6,
          (0.76, 0.73, 0.68), ((7.5, 9.8),), 0.4, ((4.8, 0.7, WHITE, RED),), PALE, OAK, "columns",
          (1.05, 0.98, 0.88), (0.5, 0.8, 0.3), 0.5, TEAL_WATER, 5.0, False),
    Venue("red festival", "mural", ((0.70, 0.10, 0.14), (0.88, 0.30, 0.12), (0.98, 0.82, 0.20)), 11, 7,
          (0.60, 0.50, 0.48), ((5.6, 10.4),), 0.75, ((3.6, 1.1, YELLOW, RED), (1.2, 0.9, RED, YELLOW)), YELLOW, RED,
          "slab", (1.06, 0.97, 0.90), (-0.3, 0.9, 0.4), 0.55, BLUE_WATER, 0.0, False),
    Venue("violet final", "mural", ((0.26, 0.12, 0.44), (0.52, 0.16, 0.60), (0.92, 0.42, 0.72)), 12, 7,
          (0.34, 0.30, 0.44), ((7.0, 11.6),), 0.85, ((4.6, 1.3, PURPLE, WHITE),), PINK, PURPLE, "columns",
          (1.0, 0.92, 1.10), (0.5, 0.7, 0.5), 0.6, TEAL_WATER, 0.0, False),
    Venue("metal shed", "metal", ((0.50, 0.56, 0.60), (0.36, 0.42, 0.46), (0.90, 0.88, 0.70)), 9, 6,
          (0.48, 0.52, 0.50), (), 0.0, ((5.2, 0.8, BLACK, YELLOW),), YELLOW, (0.28, 0.32, 0.36), "lattice",
          (0.94, 1.0, 0.94), (0.0, 1.0, 0.3), 0.5, DARK_WATER, 5.5, True),
    Venue("yellow tiles", "tiles", ((0.88, 0.78, 0.46), (0.64, 0.34, 0.16), (0.94, 0.88, 0.66)), 9, 6,
          (0.70, 0.50, 0.36), ((5.0, 7.4),), 0.45, ((2.4, 0.8, (0.45, 0.10, 0.10), YELLOW),), RED, SAND, "columns",
          (1.08, 0.98, 0.80), (0.7, 0.5, 0.5), 0.6, PALE_WATER, 6.5, False),
    Venue("green stadium", "panels", ((0.12, 0.34, 0.24), (0.08, 0.26, 0.19), (0.30, 0.58, 0.40)), 13, 8,
          (0.46, 0.52, 0.46), ((1.4, 5.2), (7.4, 11.4)), 0.8, ((5.6, 1.2, WHITE, GREEN),), WHITE, GREEN, "slab",
          (0.98, 1.03, 0.95), (-0.6, 0.8, 0.3), 0.6, BLUE_WATER, 0.0, False),
    Venue("blue windows", "glass", ((0.28, 0.38, 0.62), (0.12, 0.18, 0.32), (0.70, 0.74, 0.80)), 10, 6,
          (0.40, 0.46, 0.56), ((7.8, 10.0),), 0.5, ((1.0, 0.8, NAVY, ORANGE),), ORANGE, STEEL, "columns",
          (0.90, 0.96, 1.10), (-0.7, 0.6, 0.2), 0.65, DARK_WATER, 0.0, False),
    Venue("stucco resort", "outdoor", ((0.92, 0.72, 0.52), (0.56, 0.40, 0.34), (0.98, 0.88, 0.72)), 14, 9,
          (0.88, 0.80, 0.66), (), 0.0, (), (0.80, 0.30, 0.20), (0.94, 0.90, 0.82), "slab",
          (1.14, 1.0, 0.82), (0.85, 0.4, 0.3), 0.85, PALE_WATER, 0.0, False),
    Venue("school pool", "brick", ((0.80, 0.80, 0.76), (0.72, 0.72, 0.69), (0.90, 0.90, 0.86)), 7.5, 5,
          (0.56, 0.64, 0.70), (), 0.0, ((1.6, 0.5, RED, WHITE), (4.4, 1.0, SKY, WHITE)), SKY, COBALT, "lattice",
          (0.97, 1.02, 0.95), (0.2, 0.9, 0.4), 0.45, TEAL_WATER, 0.0, True),
)
# fmt: on

NUM_VENUES = len(VENUES)


def venue(index: int) -> Venue:
    """The venue of that index, 0 to :data:`NUM_VENUES` - 1."""
    if not 0 <= index < NUM_VENUES:
        raise UsageError(f"a venue's index lies in 0..{NUM_VENUES - 1}, got {index}.")
    return VENUES[index]
