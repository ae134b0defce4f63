"""Compiled rasterization: the surroundings by ray, people as lit capsules in painter's order, then the sensor.

A frame is the mean of its substeps. Each substep samples the surroundings at another place inside the pixel, so the
mean is antialiased and blurred by motion alike; capsules and quadrilaterals soften their edges over one pixel.
"""

from __future__ import annotations

import numpy as np

from diving48_domains.mini.walls import kernel

# Columns of a shape: a tapered capsule from a to b in pixels.
AX, AY, RA, BX, BY, RB = range(6)
HEIGHT_A, HEIGHT_B = 6, 7  # apparent height above the water of both ends, metres
RED = 8  # and green, blue
OWNER = 11  # the diver's number, or -1
KIND = 12
HAIR_X = 13  # and y, z: the way the hair of a head faces, camera axes
HAIR_RED = 16
ALPHA = 19
SCALE = 20  # pixels per metre
COLUMNS = 21
LIT, HEAD, FLAT = 0.0, 1.0, 2.0

CLARITY_M = 0.75  # apparent depth over which a body under water fades to 1/e
TINT_M = 0.40  # and over which it takes the water's colour
# Eight points of a pixel, no two in one row or column, from its middle; and how far its corner is.
SAMPLES = (np.array([(0, 3), (1, 6), (2, 1), (3, 4), (4, 7), (5, 2), (6, 5), (7, 0)], dtype=np.float32) - 3.5) / 8
CORNER = np.float32(0.7072)
BITS_SET = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint16)
TILE = 256  # side of the periodic field of water slopes


@kernel
def _lit(shape, right, up, radius, sun, contrast):  # type: ignore[no-untyped-def]
    """The colour of a round body's surface ``right`` and ``up`` of its axis: one light, and a sky from the camera."""
    one, nought, half = np.float32(1.0), np.float32(0.0), np.float32(0.5)
    nx, ny = right / radius, up / radius
    nz = np.sqrt(max(nought, one - nx * nx - ny * ny))
    red, green, blue = shape[RED], shape[RED + 1], shape[RED + 2]
    if shape[KIND] == HEAD:
        toward = nx * shape[HAIR_X] + ny * shape[HAIR_X + 1] + nz * shape[HAIR_X + 2]
        hair = min(max(np.float32(4.0) * toward + half, nought), one)
        red += hair * (shape[HAIR_RED] - red)
        green += hair * (shape[HAIR_RED + 1] - green)
        blue += hair * (shape[HAIR_RED + 2] - blue)
    facing = max(nought, nx * sun[0] + ny * sun[1] + nz * sun[2])
    shine = facing * facing
    shine *= shine
    shine *= shine * np.float32(0.10)
    level = (one - contrast) * (np.float32(0.55) + np.float32(0.45) * nz)
    level += contrast * (np.float32(0.28) + np.float32(0.95) * facing)
    return red * level + shine, green * level + shine, blue * level + shine


@kernel
def _inside(shape, px, py, dx, dy, inverse):  # type: ignore[no-untyped-def]
    """Which of a pixel's eight sample points lie in a capsule, as bits; (px, py) is its middle as seen from end a."""
    bits = np.uint8(0)
    for k in range(8):
        x, y = px + SAMPLES[k, 0], py + SAMPLES[k, 1]
        t = min(max((x * dx + y * dy) * inverse, np.float32(0.0)), np.float32(1.0))
        ox, oy = x - t * dx, y - t * dy
        radius = shape[RA] + (shape[RB] - shape[RA]) * t
        if ox * ox + oy * oy <= radius * radius:
            bits |= np.uint8(1 << k)
    return bits


@kernel
def draw_shape(shape, sun, contrast, water, picture, cover):  # type: ignore[no-untyped-def]
    """Draw one capsule over ``picture`` float32 (H, W, 3), and over ``cover`` uint8 (D, H, W).

    A bit of ``cover`` is one of eight sample points of its pixel, set where the diver is in front there.
    """
    height, width = picture.shape[0], picture.shape[1]
    ax, ay, ra, bx, by, rb = shape[AX], shape[AY], shape[RA], shape[BX], shape[BY], shape[RB]
    reach = max(ra, rb) + 0.5
    x0, x1 = max(0, int(min(ax, bx) - reach)), min(width - 1, int(max(ax, bx) + reach))
    y0, y1 = max(0, int(min(ay, by) - reach)), min(height - 1, int(max(ay, by) + reach))
    if x0 > x1 or y0 > y1 or shape[ALPHA] <= 0:
        return
    dx, dy = bx - ax, by - ay
    length = dx * dx + dy * dy
    inverse = 1 / length if length > 1e-6 else np.float32(0.0)
    owner, kind, scale = int(shape[OWNER]), shape[KIND], shape[SCALE]
    wet = min(shape[HEIGHT_A], shape[HEIGHT_B]) * scale < max(ra, rb)
    half, one, nought = np.float32(0.5), np.float32(1.0), np.float32(0.0)
    for i in range(y0, y1 + 1):
        py = np.float32(i) + half - ay
        for j in range(x0, x1 + 1):
            px = np.float32(j) + half - ax
            t = min(max((px * dx + py * dy) * inverse, nought), one)
            ox, oy = px - t * dx, py - t * dy
            radius = ra + (rb - ra) * t
            square = ox * ox + oy * oy
            if square >= (radius + CORNER) * (radius + CORNER):
                continue
            distance = np.sqrt(square)
            alpha = min(max(radius + half - distance, nought), one) * shape[ALPHA]
            if kind == FLAT:
                red, green, blue = shape[RED], shape[RED + 1], shape[RED + 2]
            else:
                red, green, blue = _lit(shape, ox, -oy, max(radius, half, distance), sun, contrast)
            opaque = shape[ALPHA] >= half
            if wet:
                depth = -(shape[HEIGHT_A] + t * (shape[HEIGHT_B] - shape[HEIGHT_A]) - oy / scale)
                if depth > 0:
                    clarity = np.exp(-depth / np.float32(CLARITY_M))
                    alpha *= clarity
                    opaque = opaque and clarity >= half
                    tint = np.float32(0.25) + np.float32(0.75) * (one - np.exp(-depth / np.float32(TINT_M)))
                    red += tint * (water[0] - red)
                    green += tint * (water[1] - green)
                    blue += tint * (water[2] - blue)
            rest = one - alpha
            picture[i, j, 0] = picture[i, j, 0] * rest + alpha * red
            picture[i, j, 1] = picture[i, j, 1] * rest + alpha * green
            picture[i, j, 2] = picture[i, j, 2] * rest + alpha * blue
            if opaque and cover.shape[0]:
                inside = np.uint8(255) if distance < radius - CORNER else _inside(shape, px, py, dx, dy, inverse)
                for d in range(cover.shape[0]):
                    cover[d, i, j] = (cover[d, i, j] | inside) if d == owner else (cover[d, i, j] & ~inside)


@kernel
def draw_quad(corners, colour, picture):  # type: ignore[no-untyped-def]
    """Fill a convex quadrilateral, corners (4, 2) px in either sense of rotation, antialiased over one pixel."""
    height, width = picture.shape[0], picture.shape[1]
    x0, x1 = max(0, int(corners[:, 0].min() - 0.5)), min(width - 1, int(corners[:, 0].max() + 0.5))
    y0, y1 = max(0, int(corners[:, 1].min() - 0.5)), min(height - 1, int(corners[:, 1].max() + 0.5))
    if x0 > x1 or y0 > y1:
        return
    area = np.float32(0.0)
    edges = np.zeros((4, 3), dtype=np.float32)
    for k in range(4):
        ax, ay = corners[k]
        bx, by = corners[(k + 1) % 4]
        area += ax * by - bx * ay
        length = max(np.sqrt((bx - ax) ** 2 + (by - ay) ** 2), np.float32(1e-6))
        edges[k, 0], edges[k, 1] = -(by - ay) / length, (bx - ax) / length
        edges[k, 2] = -(edges[k, 0] * ax + edges[k, 1] * ay)
    if area < 0:
        edges *= np.float32(-1.0)
    for i in range(y0, y1 + 1):
        for j in range(x0, x1 + 1):
            inside = np.float32(1.0)
            for k in range(4):
                inside = min(inside, edges[k, 0] * (j + 0.5) + edges[k, 1] * (i + 0.5) + edges[k, 2] + 0.5)
            if inside > 0:
                for c in range(3):
                    picture[i, j, c] += inside * (colour[c] - picture[i, j, c])


@kernel
def _wall_at(wall, origin, x, y):  # type: ignore[no-untyped-def]
    """Row and column of the wall's texel at (x, y) m, held inside the painted part."""
    row = min(max(int((origin[1] - y) * origin[2]), 0), wall.shape[0] - 1)
    column = min(max(int((x - origin[0]) * origin[2]), 0), wall.shape[1] - 1)
    return row, column


@kernel
def _deck(x, z, from_pool, from_wall):  # type: ignore[no-untyped-def]
    """Which colour of the ground the deck shows at (x, z) m, and how bright: gutter, coping, then tiles."""
    if from_pool < 0.45:
        return 4, (0.35 if from_pool < 0.12 else 0.98)
    u, v = x / 0.8 - np.floor(x / 0.8), z / 0.8 - np.floor(z / 0.8)
    level = 0.86 if u < 0.06 or v < 0.06 else 0.98
    return 1, level * (1 - 0.25 * max(0.0, 1 - from_wall / 1.2))  # darker where the wall meets the deck


@kernel
def _surface(x, z, slopes, entries, time):  # type: ignore[no-untyped-def]
    """The water's slope and its share of foam at (x, z) m: two fields of waves, rings and foam of the splashes."""
    a, b = int(x * 46 + time * 21), int(z * 46 + time * 30)
    slope = slopes[b & (TILE - 1), a & (TILE - 1)]
    a, b = int(x * 19 - z * 7 - time * 13), int(z * 21 + x * 6 + time * 9)
    slope += 0.9 * slopes[b & (TILE - 1), a & (TILE - 1)]
    foam = 0.0
    for k in range(len(entries)):
        age = time - entries[k, 2]
        if age <= 0:
            continue
        r = np.sqrt((x - entries[k, 0]) ** 2 + (z - entries[k, 1]) ** 2)
        size = 0.22 + 0.95 * entries[k, 3] * (1 - np.exp(-age / 0.45))
        if r < size:
            grain = 0.05 + 0.28 * slope
            foam = max(foam, min(1.0, 2.2 * (1 - r / size) + grain) * np.exp(-age / 1.6))
        front = r - 0.3 - 1.5 * age
        if abs(front) < 1.2:
            slope += 2.2 * np.sin(9 * front) * (1 - abs(front) / 1.2) * np.exp(-age / 1.2)
    return slope, foam


@kernel
def draw_surroundings(view, axes, centre, jitter, wall, origin, ground, slopes, entries, time, picture):  # type: ignore[no-untyped-def]
    """Fill ``picture`` with wall, deck and water.

    ``view``: pixels per metre, camera distance, mirror sign; ``origin``: left and top of the painted wall in metres and
    its texels per metre; ``ground`` (5, 3): (wall, pool, 0) m, deck, deep, shallow, coping colours; ``slopes`` float32
    (TILE, TILE), periodic; ``entries`` (n, 4): x, z, time, strength of the splashes.
    """
    height, width = picture.shape[0], picture.shape[1]
    focal, sign = view[0] * view[1], view[2]
    eye = centre + view[1] * axes[2]
    wall_m, pool_m = ground[0, 0], ground[0, 1]
    scale = 1 / 255.0
    for i in range(height):
        v = (0.5 * height - (i + jitter[1])) / focal
        ry = -axes[2, 1] + axes[1, 1] * v
        base_x, base_z = -axes[2, 0] + axes[1, 0] * v, -axes[2, 2] + axes[1, 2] * v
        for j in range(width):
            u = sign * ((j + jitter[0]) - 0.5 * width) / focal
            rx, rz = base_x + axes[0, 0] * u, base_z + axes[0, 2] * u
            far = (-wall_m - eye[2]) / rz
            y = eye[1] + far * ry
            if y >= 0:
                row, column = _wall_at(wall, origin, eye[0] + far * rx, y)
                for c in range(3):
                    picture[i, j, c] = wall[row, column, c] * scale
                continue
            far = -eye[1] / ry
            x, z = eye[0] + far * rx, eye[2] + far * rz
            if z < -pool_m:
                which, level = _deck(x, z, -pool_m - z, z + wall_m)
                for c in range(3):
                    picture[i, j, c] = level * ground[which, c]
                continue
            slope, foam = _surface(x, z, slopes, entries, time)
            steep = -ry / np.sqrt(rx * rx + ry * ry + rz * rz)
            mirror = min(max(0.62 - 2.2 * steep, 0.16), 0.55)
            up = (z + wall_m) * ry / rz + 1.1 * slope
            row, column = _wall_at(wall, origin, x - rx / rz * (z + wall_m), up)
            mix = min(max(0.42 + 0.22 * slope, 0.0), 1.0)
            glint = 0.30 * max(0.0, slope - 2.1)
            for c in range(3):
                own = ground[2, c] + mix * (ground[3, c] - ground[2, c])
                value = own + mirror * (wall[row, column, c] * scale - own) + glint
                picture[i, j, c] = value + foam * (0.95 - value)


@kernel
def _word(index, seed):  # type: ignore[no-untyped-def]
    """Sixty-four random bits of a counter (splitmix64)."""
    z = np.uint64(index) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@kernel
def develop(light, gain, vignette, noise, seed, first, out):  # type: ignore[no-untyped-def]
    """Linear picture to 8 bits: gain (3,), darker corners, and noise of ``noise`` levels from counters at ``first``."""
    height, width = out.shape[0], out.shape[1]
    byte = np.uint64(255)
    for i in range(height):
        v = (i + 0.5) / height - 0.5
        for j in range(width):
            u = (j + 0.5) / width - 0.5
            fall = 255.0 * (1 - vignette * 2 * (u * u + v * v))
            z = _word(first + i * width + j, seed)
            # Sums of bytes are near enough to Gaussian: four make the luminance's noise, two that of each colour.
            grey = 0.0
            for k in range(4):
                grey += float((z >> np.uint64(8 * k)) & byte)
            grey = (grey - 510.0) / 147.8
            b4, b5 = float((z >> np.uint64(32)) & byte), float((z >> np.uint64(40)) & byte)
            b6, b7 = float((z >> np.uint64(48)) & byte), float((z >> np.uint64(56)) & byte)
            for c in range(3):
                tone = (b4 + b5 if c == 0 else b5 + b6 if c == 1 else b6 + b7) - 255.0
                value = light[i, j, c] * gain[c] * fall + noise * (0.8 * grey + 0.6 * tone / 104.5)
                out[i, j, c] = np.uint8(min(max(value + 0.5, 0.0), 255.0))


@kernel
def _add(picture, cover, total, hits):  # type: ignore[no-untyped-def]
    """Add a substep to its frame: light, and for each diver how many of a pixel's eight points it has."""
    for i in range(picture.shape[0]):
        for j in range(picture.shape[1]):
            for c in range(3):
                total[i, j, c] += picture[i, j, c]
    for d in range(cover.shape[0]):
        for i in range(cover.shape[1]):
            for j in range(cover.shape[2]):
                hits[d, i, j] += BITS_SET[cover[d, i, j]]


@kernel
def _decide(hits, points, masks):  # type: ignore[no-untyped-def]
    """Each pixel to the first diver (D, H, W) who has at least half of its points in space and time."""
    for i in range(hits.shape[1]):
        for j in range(hits.shape[2]):
            taken = False
            for d in range(hits.shape[0]):
                masks[d, i, j] = not taken and 2 * hits[d, i, j] >= points
                taken = taken or masks[d, i, j]


@kernel
def render_frames(  # type: ignore[no-untyped-def]
    substeps, view, axes, centres, times, jitters, wall, origin, ground, slopes, entries,
    shapes, num_behind, quads, quad_colours, sun, contrast, water, gain, vignette, noise, seed,
    frames, masks,
):  # fmt: skip
    """All frames of a clip, uint8 (T, H, W, 3), and each diver's masks, bool (D, T, H, W).

    ``shapes`` float32 (S, n, COLUMNS) in painter's order; the first ``num_behind`` come before the quadrilaterals
    ``quads`` float32 (S, q, 4, 2), the others after them.
    """
    num_divers, num_frames, height, width = masks.shape
    picture = np.empty((height, width, 3), dtype=np.float32)
    total = np.empty((height, width, 3), dtype=np.float32)
    cover = np.empty((num_divers, height, width), dtype=np.uint8)
    hits = np.empty((num_divers, height, width), dtype=np.uint16)
    none = np.empty((0, height, width), dtype=np.uint8)
    for t in range(num_frames):
        total[:] = 0
        hits[:] = 0
        for k in range(substeps):
            s = t * substeps + k
            draw_surroundings(
                view, axes, centres[s], jitters[k], wall, origin, ground, slopes, entries, times[s], picture
            )
            for n in range(num_behind):
                draw_shape(shapes[s, n], sun, contrast, water, picture, none)
            for q in range(quads.shape[1]):
                draw_quad(quads[s, q], quad_colours[q], picture)
            cover[:] = 0
            for n in range(num_behind, shapes.shape[1]):
                draw_shape(shapes[s, n], sun, contrast, water, picture, cover)
            _add(picture, cover, total, hits)
        total *= np.float32(1 / substeps)
        _decide(hits, 8 * substeps, masks[:, t])
        develop(total, gain, vignette, noise, seed, t * height * width, frames[t])
