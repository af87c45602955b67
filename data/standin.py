"""Drawn colour images that take the place of CIFAR-10 and CelebA where those cannot be had.

They are not, and do not imitate, photographs: a handful of smooth factors (place, size, hue, light,
a smile) span a low-dimensional family of pictures, which is what a VAE is meant to find. Every
pixel comes from +, -, *, / and square roots, which IEEE 754 rounds exactly, so that the images are
the same on every machine.

Everything here is computed on blocks of n images at once: a factor has shape (n, 1, 1), a map over
the pixels (n, h, w), a canvas (3, n, h, w) with values in [0, 1]. Lengths are in pixels.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

SEED = 1903  # with the split, decides every image
BLOCK = 50  # images drawn at once: few enough to stay in the processor's cache
SPLIT_KEYS = {"train": 0, "test": 1}

Colour = tuple[np.ndarray, np.ndarray, np.ndarray]  # red, green, blue; each (n, 1, 1)


def draw(name: str, split: str, n: int, seed: int = SEED) -> np.ndarray:
    """Draw ``n`` images of a stand-in as uint8 (n, h, w, 3), always the same for these arguments.

    The first images of a larger ``n`` are the images of a smaller one.
    """
    size, key, paint = _PAINTERS[name]
    images = np.empty((n, size, size, 3), np.uint8)
    for block, start in enumerate(range(0, n, BLOCK)):
        rng = np.random.default_rng([seed, key, SPLIT_KEYS[split], block])
        canvas = paint(Factors(rng))  # (3, BLOCK, h, w)
        painted = (canvas.clip(0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
        images[start : start + BLOCK] = painted.transpose(1, 2, 3, 0)[: n - start]
    return images


class Factors:
    """Draws the factors of one block of images."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def between(self, low: float, high: float) -> np.ndarray:
        """Uniform in [low, high): float32 (BLOCK, 1, 1)."""
        values = low + (high - low) * self.rng.random((BLOCK, 1, 1))
        return values.astype(np.float32)

    def around(self, middle: float, spread: float) -> np.ndarray:
        """Bell-shaped within middle +- spread, the sum of three uniform numbers."""
        values = self.rng.random((3, BLOCK, 1, 1)) * 2 - 1
        return (middle + spread * ((values[0] + values[1] + values[2]) / 3)).astype(np.float32)

    def choice(self, k: int) -> np.ndarray:
        """One of 0 ... k-1: int64 (BLOCK, 1, 1)."""
        return self.rng.integers(k, size=(BLOCK, 1, 1))


# ---------------------------------------------------------------- shapes, colours, light


def grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres: x of shape (1, 1, size) and y of shape (1, size, 1)."""
    centres = np.arange(size, dtype=np.float32) + np.float32(0.5)
    return centres[None, None, :], centres[None, :, None]


def turned(x: np.ndarray, y: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates turned by the angle 2 arctan(t), which needs no sine or cosine."""
    cos, sin = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    return cos * x + sin * y, cos * y - sin * x


def cover(distance: np.ndarray) -> np.ndarray:
    """Share of a pixel inside a shape, from the signed distance to its edge (inside negative)."""
    return (0.5 - distance).clip(0, 1)


def ellipse(x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Signed distance, to first order, to the ellipse (x/a)^2 + (y/b)^2 = 1."""
    u, v = x / a, y / b
    slope_u, slope_v = u / a, v / b
    return (u * u + v * v - 1) / (2 * np.sqrt(slope_u * slope_u + slope_v * slope_v) + 1e-3)


def smooth(t: np.ndarray) -> np.ndarray:
    """From 0 to 1 as t goes from 0 to 1, level at both ends."""
    t = t.clip(0, 1)
    return t * t * (3 - 2 * t)


def hsv(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> Colour:
    """Red, green and blue from hue (any real number, one turn is 1), saturation and value."""

    def channel(offset: int) -> np.ndarray:
        k = (offset + 6 * hue) % 6
        return value - value * saturation * np.minimum(k, 4 - k).clip(0, 1)

    return channel(5), channel(3), channel(1)


def along(points: list[tuple[float, float, float]], t: np.ndarray) -> Colour:
    """The colour at t in [0, 1) on a line through evenly spaced points."""
    table = np.asarray(points, np.float32)
    place = t * (len(points) - 1)
    before = place.astype(np.int64)
    share = place - before.astype(np.float32)
    mixed = table[before] + share[..., None] * (table[before + 1] - table[before])  # (n, 1, 1, 3)
    return mixed[..., 0], mixed[..., 1], mixed[..., 2]


def scaled(colour: Colour, factor: np.ndarray | float) -> Colour:
    """A lighter or darker colour."""
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def blended(first: Colour, second: Colour, share: np.ndarray | float) -> Colour:
    """``first`` where ``share`` is 0, ``second`` where it is 1."""
    return tuple(a + share * (b - a) for a, b in zip(first, second, strict=True))


def put_all(canvas: np.ndarray, colour: Colour) -> None:
    """Fill a canvas."""
    for layer, value in zip(canvas, colour, strict=True):
        layer[...] = value


def put(canvas: np.ndarray, colour: Colour, share: np.ndarray) -> None:
    """Lay a colour over a canvas (3, n, h, w), in place; ``share`` in [0, 1] is its opacity."""
    for layer, value in zip(canvas, colour, strict=True):
        layer += share * (value - layer)


# ---------------------------------------------------------------- objects


def objects(factors: Factors, size: int = 32) -> np.ndarray:
    """A ball, box, pyramid or ring on a floor before a wall: canvas (3, n, 32, 32)."""
    x, y = grid(size)
    between, around = factors.between, factors.around
    canvas = np.empty((3, BLOCK, size, size), np.float32)

    # Wall and floor, each fading from one shade into another.
    hue, horizon = between(0, 1), around(20, 4)
    wall = hsv(hue, between(0.15, 0.5), between(0.65, 0.95))
    floor = hsv(hue + around(0.5, 0.25), between(0.15, 0.45), between(0.45, 0.8))
    slant = x / size - 0.5
    on_floor = cover(horizon - y)
    put_all(canvas, scaled(wall, 0.72 + 0.28 * y / horizon + between(-0.2, 0.2) * slant))
    put(canvas, scaled(floor, 0.8 + 0.35 * (y - horizon) / (size - horizon)), on_floor)

    # The object stands on the floor; light comes from above, left or right.
    radius = between(5.5, 10)
    left_right = between(-0.8, 0.8)
    light_x, light_y = turned(np.float32(0), np.float32(-1), -left_right * 0.5)
    centre_x = around(16, 7)
    foot = horizon + between(1.5, 7)
    px, py = x - centre_x, y - (foot - radius)

    shade = ellipse(px + light_x * radius * 0.6, y - foot, radius * 1.25, radius * 0.4)
    put(canvas, scaled(floor, 0.25), 0.55 * smooth(0.5 - shade / (0.7 * radius)))

    tx, ty = turned(px, py, between(-0.07, 0.07))
    r = np.sqrt(px * px + py * py)
    bx, by = np.abs(tx) - 0.72 * radius, np.abs(ty) - 0.86 * radius
    corner = np.sqrt(bx.clip(0) * bx.clip(0) + by.clip(0) * by.clip(0))
    distances = (
        r - radius,
        corner + np.minimum(np.maximum(bx, by), 0) - 0.14 * radius,
        np.maximum(py - 0.95 * radius, 0.88 * np.abs(px) - 0.47 * py - 0.47 * radius),
        np.abs(r - 0.68 * radius) - 0.3 * radius,
    )
    shape = factors.choice(len(distances))
    distance = np.choose(shape, distances)

    towards = (px * light_x + py * light_y) / radius  # -1 in the shade ... 1 in the light
    round_ = np.sqrt((1 - r * r / (radius * radius)).clip(0))  # how far a ball comes forward
    flat = np.choose(shape, (round_, 0.6 + 0.2 * tx / radius, 0.6 + 0.5 * np.sign(px), 0.55))
    paint = hsv(hue + around(0.5, 0.5), between(0.45, 0.9), between(0.7, 1.0))
    lit = scaled(paint, (0.5 + 0.3 * towards + 0.35 * flat).clip(0.15, 1.1))
    gx, gy = px - light_x * 0.45 * radius, py - light_y * 0.45 * radius
    gleam = smooth(1 - (gx * gx + gy * gy) / (0.16 * radius * radius))
    lit = blended(lit, (1.0, 1.0, 1.0), gleam * np.choose(shape, (0.65, 0.1, 0.0, 0.2)))
    put(canvas, lit, cover(distance))
    return canvas


# ---------------------------------------------------------------- faces

SKIN = [(0.99, 0.87, 0.77), (0.93, 0.74, 0.58), (0.78, 0.55, 0.38), (0.52, 0.34, 0.23)]
HAIR = [(0.09, 0.07, 0.08), (0.30, 0.18, 0.11), (0.58, 0.27, 0.12), (0.86, 0.66, 0.34)]
IRIS = [(0.25, 0.14, 0.08), (0.42, 0.32, 0.14), (0.28, 0.48, 0.34), (0.28, 0.47, 0.70)]


def faces(factors: Factors, size: int = 64) -> np.ndarray:
    """A cartoon face, centred as CelebA's are: canvas (3, n, 64, 64)."""
    x, y = grid(size)
    between, around = factors.between, factors.around
    canvas = np.empty((3, BLOCK, size, size), np.float32)

    tone, tint = between(0, 1), between(0, 1)
    skin, hair, iris = along(SKIN, tone), along(HAIR, tint), along(IRIS, between(0, 1))
    width, height = around(15.5, 2.5), around(19.5, 2.5)  # of half the face
    centre_x, centre_y = around(32, 3), around(34, 2)
    tilt, turn = around(0, 0.12), around(0, 4)  # turn: how far the features move sideways
    light = around(0, 0.3)

    # Background, hair behind the head, shoulders and neck.
    wall = hsv(between(0, 1), between(0.1, 0.45), between(0.6, 0.95))
    put_all(canvas, scaled(wall, 1.08 - 0.3 * y / size + 0.35 * light * (x / size - 0.5)))
    fx, fy = turned(x - centre_x, y - centre_y, tilt)
    volume, length = between(1.5, 5), between(0, 1) * between(0, 1)
    below = height * (1.1 + 0.9 * length)
    back = ellipse(fx, fy + 2, width + volume, np.where(fy > -2, below, height + volume))
    put(canvas, scaled(hair, 0.8), cover(back) * cover(fy - height * (0.15 + 1.3 * length)))
    clothes = hsv(between(0, 1), between(0.2, 0.8), between(0.35, 0.9))
    lower = slice(40, size)  # rows; nothing below is drawn above them
    ly, body = y[:, lower], canvas[:, :, lower]
    put(body, clothes, cover(ellipse(x - centre_x, ly - 68, around(25, 5), between(12, 15))))
    neck = np.abs(x - centre_x) - width * 0.45
    put(body, scaled(skin, 0.8), cover(neck) * cover(ly - centre_y - height - 6.5))

    # Head: ears, then the face, lit from one side.
    ears = ellipse(np.abs(fx + 0.2 * turn) - width, fy - 1, 2.6 + 0 * width, 3.8 + 0 * width)
    put(canvas, scaled(skin, 0.88), cover(ears))
    jaw = width * (1 - between(0, 0.16) * smooth(fy / height))
    face = ellipse(fx, fy, jaw, height)
    lit = 1 + light * fx / width - 0.12 * smooth((face + 5) / 5)
    put(canvas, scaled(skin, lit), cover(face))

    # Hair on the head: what of it lies above the hairline, which may be parted.
    cap = ellipse(fx, fy + 1.2, width + 1.4, height + 0.3 * volume)
    parting = fx - turn - around(0, 9)
    hairline = -height * between(0.42, 0.72) + between(0.004, 0.03) * parting * parting
    gloss = 0.95 + 0.35 * smooth(1 - np.abs(fy + 0.8 * height) / 5) + light * fx / width
    put(canvas, scaled(hair, gloss), cover(cap) * cover(fy - hairline))

    # Features, in the middle of the picture only.
    rows, columns = slice(20, 60), slice(10, 54)
    middle = canvas[:, :, rows, columns]
    fx, fy, lit = fx[:, rows, columns] - turn, fy[:, rows, columns], lit[:, rows, columns]
    for cheek in (-1, 1):
        blush = 1 - ellipse(fx - cheek * 0.52 * width, fy - 5.5, width * 0.3, width * 0.25) / 2
        put(middle, blended(skin, (0.95, 0.35, 0.35), 0.4), 0.5 * smooth(blush - 0.5))

    apart, eye_y = width * between(0.38, 0.46), around(-1.5, 1.2)
    opened, wide = around(2.0, 0.8), around(3.5, 0.6)
    look, brow_y, brow_bend = around(0, 1.0), around(-5.8, 1.2), between(0.02, 0.09)
    for side in (-1, 1):
        ex, ey = fx - side * apart, fy - eye_y
        lid = cover(ellipse(ex, ey, wide, opened))
        put(middle, scaled(skin, 0.45), cover(ellipse(ex, ey + 0.6, wide + 0.3, opened + 0.3)))
        put(middle, (0.97, 0.97, 0.95), lid)
        ring = np.sqrt((ex - look) * (ex - look) + ey * ey)
        put(middle, iris, lid * cover(ring - 1.9))
        put(middle, (0.04, 0.04, 0.05), lid * cover(ring - 0.9))
        gx, gy = ex - look + 0.7, ey + 0.7
        put(middle, (1.0, 1.0, 1.0), lid * cover(np.sqrt(gx * gx + gy * gy) - 0.45))
        brow = np.abs(ey - brow_y - brow_bend * ex * ex) - 0.75
        put(middle, scaled(hair, 0.7), cover(brow) * cover(np.abs(ex) - wide - 0.6))

    nose = around(1.0, 0.25)
    tip = ellipse(fx, fy - 5, 2.6 * nose, 1.5 * nose)
    put(middle, scaled(skin, 0.74 * lit), 0.75 * cover(tip))
    put(middle, scaled(skin, 1.05 * lit), cover(ellipse(fx, fy - 4, 1.9 * nose, 1.7 * nose)))

    # Mouth: everything between two parabolas; teeth show when it is open.
    mouth_y, reach = height * around(0.54, 0.05), around(5.5, 1.5)
    smile, part = between(-0.02, 0.07), between(0, 1) * between(0, 3.2)
    mx, my = fx, fy - mouth_y
    bow = smile * (reach * reach * 0.4 - mx * mx)  # positive: the middle hangs lower
    taper = (1 - mx * mx / (reach * reach)).clip(0)
    upper, lower_lip = bow - (0.9 + 0.15 * part) * taper, bow + (1.1 + part) * taper
    inside = cover(np.maximum(upper - my, my - lower_lip)) * cover(np.abs(mx) - reach)
    lips = blended(skin, hsv(around(0.98, 0.03), between(0.5, 0.8), between(0.55, 0.85)), 0.75)
    put(middle, lips, inside)
    gap = np.maximum(bow - 0.1 * part * taper - my, my - bow - 0.9 * part * taper)
    put(middle, (0.96, 0.95, 0.92), cover(gap + 0.3) * (part > 0.6) * inside)
    return canvas


_PAINTERS: dict[str, tuple[int, int, Callable[[Factors], np.ndarray]]] = {
    "cifar10-standin": (32, 0, objects),
    "celeba-standin": (64, 1, faces),
}
