"""Figures from made-up images and histories, read back pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from evaluate import figures


def made_up_images(n=5, h=4, w=3, c=1, seed=0):
    """Random images: no model has produced them."""
    return np.random.default_rng(seed).integers(0, 256, (n, h, w, c), dtype=np.uint8)


def read(path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [1, 3])
def test_grid_shows_every_pixel_exactly(tmp_path, channels, scale):
    images = made_up_images(c=channels)
    path = figures.image_grid(images, tmp_path / "grid.png", columns=2, scale=scale)
    page, gap = read(path), figures.GAP
    h, w = 4 * scale, 3 * scale
    assert page.shape == (3 * (h + gap) + gap, 2 * (w + gap) + gap, 3)
    covered = np.zeros(page.shape[:2], bool)
    for i, image in enumerate(images):
        top, left = gap + (i // 2) * (h + gap), gap + (i % 2) * (w + gap)
        cell = page[top : top + h, left : left + w]
        for dy in range(scale):  # every copy of every pixel
            for dx in range(scale):
                shown = cell[dy::scale, dx::scale]
                np.testing.assert_array_equal(shown, np.broadcast_to(image, (4, 3, 3)))
        covered[top : top + h, left : left + w] = True
    assert (page[~covered] == 255).all()


def test_floats_are_rounded_to_8_bits():
    images = np.array([0.0, 1.0, 0.5, 100.4 / 255, 100.6 / 255], np.float32).reshape(1, 1, 5, 1)
    assert figures.as_uint8(images)[0, 0, :, 0].tolist() == [0, 255, 128, 100, 101]


def test_default_layout_is_square_and_modest():
    assert figures.tile(made_up_images(100, 28, 28)).shape == (582, 582, 3)
    assert figures.tile(made_up_images(64, 64, 64)).shape == (530, 530, 3)
    assert figures.tile(made_up_images(5, 1, 1), scale=1, gap=0).shape == (2, 3, 3)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 2), np.uint8), "expected images of shape"),
        (np.zeros((0, 2, 2, 1), np.uint8), "n at least 1"),
        (np.zeros((1, 2, 2, 4), np.uint8), "1 or 3"),
        (np.zeros((1, 2, 2, 1), np.int64), "got int64"),
        (np.full((1, 2, 2, 1), 2.0), r"in \[0, 1\]"),
        (np.full((1, 2, 2, 1), np.nan), r"in \[0, 1\]"),
    ],
)
def test_other_images_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        figures.as_uint8(images)


def test_comparison_places_grids_side_by_side(tmp_path):
    panels = [(f"$made up$ {i}", made_up_images(4, 30, 30, seed=i)) for i in range(3)]
    page = read(figures.compare_grids(panels, tmp_path / "deep" / "folder" / "c.png", scale=2))
    tiles = [figures.tile(images, scale=2) for _, images in panels]
    size = tiles[0].shape[0]
    head, space = page.shape[0] - size, (page.shape[1] - 3 * size) // 2
    for i, picture in enumerate(tiles):
        left = i * (size + space)
        np.testing.assert_array_equal(page[head:, left : left + size], picture)
        assert (page[:head, left : left + size] < 128).any()  # its title is drawn
    assert list((tmp_path / "deep" / "folder").iterdir()) == [
        tmp_path / "deep" / "folder" / "c.png"
    ]


def test_a_long_title_has_room(tmp_path):
    panels = [("a title much wider than its picture", made_up_images(1)), ("b", made_up_images(1))]
    page = read(figures.compare_grids(panels, tmp_path / "c.png", scale=1))
    assert page.shape[1] > 200


def test_comparison_of_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="got none"):
        figures.compare_grids([], tmp_path / "c.png")


def test_reconstructions_stand_under_their_images(tmp_path):
    images, rebuilt = made_up_images(5, 8, 8), made_up_images(5, 8, 8, seed=1) / 255.0
    path = figures.reconstruction_grid(images, rebuilt, tmp_path / "r.png", columns=3, scale=2)
    page, gap = read(path), figures.GAP
    width = 3 * (16 + gap) + gap
    left = page.shape[1] - width
    top = 0
    for start in (0, 3):
        for source in (images, rebuilt):
            picture = figures.tile(source[start : start + 3], 3, 2)
            shown = page[top : top + picture.shape[0], left : left + picture.shape[1]]
            np.testing.assert_array_equal(shown, picture)
            assert (page[top : top + 18, :left] < 128).any()  # its label is drawn
            top += 16 + gap
        top += 10
    assert page.shape[0] == top - 10 + gap


def test_reconstructions_of_other_images_are_refused(tmp_path):
    with pytest.raises(ValueError, match="of the same shape"):
        figures.reconstruction_grid(made_up_images(5), made_up_images(4), tmp_path / "r.png")


def made_up_history(epochs):
    names = ("loss", "kl", "reconstruction", "log_gamma")
    return {name: list(np.linspace(3, -2, epochs)) for name in names}


def has_colour(page: np.ndarray, colour: str) -> bool:
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return bool((np.abs(page.astype(int) - rgb).max(axis=-1) <= 2).any())


def test_curves_of_both_stages(tmp_path):
    both = {"first": made_up_history(30), "second": made_up_history(60)}
    one = {"first": made_up_history(1)}
    wide = read(figures.curves(both, tmp_path / "both.png"))
    narrow = read(figures.curves(one, tmp_path / "one.png"))
    assert wide.shape == (924, 968, 3)
    assert narrow.shape == (924, 484, 3)
    for colour in (figures.BLUE, figures.VERMILLION, figures.GREEN):
        assert has_colour(wide, colour)
        assert has_colour(narrow, colour)  # a single epoch is a visible dot
    assert tuple(wide[0, 0]) == (255, 255, 255)


def test_curves_leave_out_what_was_not_recorded(tmp_path):
    history = {"first": {"loss": [1.0, float("nan"), 0.5], "log_gamma": [0.0, -1.0, float("nan")]}}
    page = read(figures.curves(history, tmp_path / "c.png"))
    assert has_colour(page, figures.BLUE)
    assert not has_colour(page, figures.GREEN)


@pytest.mark.parametrize("history", [{}, {"first": {}}, {"first": {"loss": []}}])
def test_curves_of_nothing_are_refused(tmp_path, history):
    with pytest.raises(ValueError, match="expected history"):
        figures.curves(history, tmp_path / "c.png")
    assert not list(tmp_path.iterdir())


def test_the_same_input_gives_the_same_file(tmp_path):
    history = {"first": made_up_history(5)}
    a = figures.curves(history, tmp_path / "a.png").read_bytes()
    assert a == figures.curves(history, tmp_path / "b.png").read_bytes()
