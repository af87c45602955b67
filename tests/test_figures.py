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


def test_epochs_are_whole_numbers_on_the_axis(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "write_figure", lambda figure, _: drawn.append(figure))
    for epochs in (1, 2, 30):
        figures.curves({"first": made_up_history(epochs)}, tmp_path / "c.png")
        assert all(float(x).is_integer() for axes in drawn[-1].axes for x in axes.get_xticks())


def test_curves_leave_out_what_was_not_recorded(tmp_path):
    history = {"first": {"loss": [1.0, float("nan"), 0.5], "log_gamma": [0.0, -1.0, float("nan")]}}
    page = read(figures.curves(history, tmp_path / "c.png"))
    assert has_colour(page, figures.BLUE)
    assert not has_colour(page, figures.GREEN)


@pytest.mark.parametrize(
    ("model", "titles", "units", "legend"),
    [
        ("two-stage", 3, ["nats per example"] * 2, ["reconstruction", "KL"]),
        ("vae-fixed-gamma", 3, ["nats per example"] * 2, ["reconstruction", "KL"]),
        ("vae-cross-entropy", 2, ["nats per example"] * 2, ["reconstruction", "KL"]),
        (
            "wae-mmd",
            2,
            ["arbitrary units per example"] * 2,
            ["weighted squared error", "MMD penalty"],
        ),
    ],
)
def test_curves_are_named_by_what_the_model_minimises(
    tmp_path, monkeypatch, model, titles, units, legend
):
    drawn = []
    write = figures.write_figure
    monkeypatch.setattr(figures, "write_figure", lambda f, p: (drawn.append(f), write(f, p))[1])
    history = {"first": made_up_history(30) | {"log_gamma": [0.0] * 30}}
    page = read(figures.curves(history, tmp_path / "c.png", model))
    assert page.shape == (308 * titles, 484, 3)  # a panel keeps its height
    panels = drawn[0].axes
    shown = [axes.get_title(loc="left").split("\n")[-1] for axes in panels]
    assert shown == ["Loss", "Terms of the loss", "log gamma"][:titles]
    assert [axes.get_ylabel() for axes in panels[:2]] == units
    assert [text.get_text() for text in panels[1].get_legend().get_texts()] == legend


@pytest.mark.parametrize(
    ("names", "end"),
    [
        ((), ""),
        (("kl",), ""),
        (("log_gamma",), "-2.50 after epoch 2"),
        (("log_gamma", "kl"), "-2.50 after epoch 2"),
        (("kl", "log_gamma"), "-2.50 after epoch 2"),
    ],
)
def test_a_panel_says_how_gamma_ends_whatever_else_it_shows(names, end):
    values = {"kl": [3.0, 2.0, 1.0], "log_gamma": [0.0, -2.5]}
    axes = figures._figure((2, 2)).subplots()
    figures._draw(axes, values, {name: (name, figures.BLUE) for name in names})
    assert len(axes.lines) == len(names)
    assert axes.get_title(loc="right") == end


@pytest.mark.parametrize("history", [{}, {"first": {}}, {"first": {"loss": []}}])
def test_curves_of_nothing_are_refused(tmp_path, history):
    with pytest.raises(ValueError, match="expected history"):
        figures.curves(history, tmp_path / "c.png")
    assert not list(tmp_path.iterdir())


def test_neighbours_stand_under_their_samples(tmp_path):
    samples, nearest = made_up_images(3, 8, 8), made_up_images(6, 8, 8, seed=1)
    nearest = nearest.reshape(3, 2, 8, 8, 1)
    page = read(figures.neighbours(samples, nearest, tmp_path / "n.png", columns=2, scale=2))
    gap = figures.GAP
    left = page.shape[1] - (2 * (16 + gap) + gap)
    top = 0
    for start in (0, 2):
        for source in (samples, nearest[:, 0], nearest[:, 1]):
            picture = figures.tile(source[start : start + 2], 2, 2)
            shown = page[top : top + picture.shape[0], left : left + picture.shape[1]]
            np.testing.assert_array_equal(shown, picture)
            assert (page[top : top + 18, :left] < 128).any()  # its label is drawn
            top += 16 + gap
        top += 10


@pytest.mark.parametrize("shape", [(3, 8, 8, 1), (2, 1, 8, 8, 1), (3, 1, 8, 4, 1)])
def test_neighbours_of_another_shape_are_refused(tmp_path, shape):
    with pytest.raises(ValueError, match="nearest images"):
        figures.neighbours(made_up_images(3, 8, 8), np.zeros(shape, np.uint8), tmp_path / "n.png")


def test_methods_have_a_row_each_with_their_name(tmp_path):
    rows = {name: made_up_images(3, 8, 8, seed=i) for i, name in enumerate(("A", "Method B", "C"))}
    page = read(figures.method_rows(rows, tmp_path / "m.png", scale=2))
    gap = figures.GAP
    left = page.shape[1] - (3 * (16 + gap) + gap)
    for i, images in enumerate(rows.values()):
        picture, top = figures.tile(images, 3, 2), i * (16 + gap)
        shown = page[top : top + picture.shape[0], left:]
        np.testing.assert_array_equal(shown, picture)
        assert (page[top : top + 18, :left] < 128).any()  # its name is drawn
    with pytest.raises(ValueError, match="equally many images"):
        figures.method_rows({**rows, "D": made_up_images(2, 8, 8)}, tmp_path / "m.png")
    with pytest.raises(ValueError, match="equally many images"):
        figures.method_rows({}, tmp_path / "m.png")


def test_interpolations_have_a_row_each(tmp_path):
    images = made_up_images(6, 8, 8, 3)
    rows = images.reshape(2, 3, 8, 8, 3)
    page = read(figures.interpolations(rows, tmp_path / "i.png", scale=2))
    np.testing.assert_array_equal(page, figures.tile(images, columns=3, scale=2))
    with pytest.raises(ValueError, match="rows of images"):
        figures.interpolations(images, tmp_path / "i.png")


def dots(page: np.ndarray, colour: str) -> int:
    """How many pixels have (almost) a colour."""
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return int((np.abs(page.astype(int) - rgb).max(axis=-1) <= 2).sum())


def test_gamma_curves_draw_every_run(tmp_path):
    learned = {"log_gamma": list(np.linspace(0, -2, 30)), "rmse": list(np.linspace(0.3, 0.1, 30))}
    fixed = {"log_gamma": [0.0] * 30, "rmse": list(np.linspace(0.3, 0.2, 30))}
    one = read(figures.gamma_curves({"learned gamma": learned}, tmp_path / "1.png"))
    two = read(figures.gamma_curves({"learned": learned, "fixed": fixed}, tmp_path / "2.png"))
    assert has_colour(one, figures.BLUE)
    assert not has_colour(one, figures.VERMILLION)
    half = two.shape[1] // 2
    for panel in (two[:, :half], two[:, half:]):
        assert has_colour(panel, figures.BLUE)
        assert has_colour(panel, figures.VERMILLION)


def test_gamma_curves_leave_out_what_was_not_recorded(tmp_path):
    page = read(
        figures.gamma_curves({"a": {"log_gamma": [0.0, -1.0]}, "b": {}}, tmp_path / "g.png")
    )
    half = page.shape[1] // 2
    assert has_colour(page[:, :half], figures.BLUE)
    assert not has_colour(page[:, half + 20 :], figures.BLUE)


def test_posterior_variances_tell_active_dimensions_apart(tmp_path):
    few = read(figures.posterior_variances([0.9, 0.01, 0.95, 1.0], tmp_path / "a.png"))
    many = read(figures.posterior_variances([0.02, 0.01, 0.95, 0.03], tmp_path / "b.png"))
    none = read(figures.posterior_variances([0.9, 0.8], tmp_path / "c.png"))
    assert 0 < dots(few, figures.VERMILLION) < dots(many, figures.VERMILLION)
    assert not has_colour(none, figures.VERMILLION)
    raised = read(figures.posterior_variances([0.4, 0.6], tmp_path / "d.png", threshold=0.7))
    assert not has_colour(raised, figures.BLUE)


def test_strips_stand_under_the_posterior_variances(tmp_path):
    strips = [("$made up$", made_up_images(6, 8, 8)), ("b", made_up_images(4, 8, 8, seed=1))]
    path = figures.posterior_variances([0.1, 0.9], tmp_path / "v.png", strips, scale=4)
    page = read(path)
    alone = read(figures.posterior_variances([0.1, 0.9], tmp_path / "alone.png"))
    plot = alone[:-10]  # without the space below it
    np.testing.assert_array_equal(page[: plot.shape[0], : plot.shape[1]], plot)
    bottom = page.shape[0]
    for _, images in reversed(strips):
        picture = figures.tile(images, len(images), 4)
        rows = page[bottom - picture.shape[0] : bottom]
        lefts = [
            x
            for x in range(page.shape[1] - picture.shape[1] + 1)
            if np.array_equal(rows[2:-2, x : x + picture.shape[1]], picture[2:-2])
        ]
        assert len(lefts) == 1
        assert (rows[:, : lefts[0]] < 128).any()  # its label is drawn
        bottom -= picture.shape[0] - figures.GAP


@pytest.mark.parametrize("variances", [[], [[0.1]], [-0.1], [float("nan")]])
def test_other_variances_are_refused(tmp_path, variances):
    with pytest.raises(ValueError, match="expected variances"):
        figures.posterior_variances(variances, tmp_path / "v.png")


def test_spectra_draw_the_gaussian_as_the_reference(tmp_path):
    values = {"Z": [9.0, 4.0, 1.0], "U": [5.0, 4.5, 4.0]}
    without = read(figures.spectra(values, tmp_path / "a.png"))
    page = read(figures.spectra({**values, "Gaussian": [5.1, 4.6, 4.1]}, tmp_path / "b.png"))
    for colour in (figures.BLUE, figures.VERMILLION):
        assert has_colour(page, colour)
    assert not has_colour(page, figures.GREEN)
    assert dots(page, figures.INK) > dots(without, figures.INK) + 100


def test_figures_of_nothing_or_of_too_much_are_refused(tmp_path):
    with pytest.raises(ValueError, match="to draw"):
        figures.gamma_curves({"a": {"rmse": []}}, tmp_path / "g.png")
    with pytest.raises(ValueError, match="to draw"):
        figures.spectra({}, tmp_path / "s.png")
    with pytest.raises(ValueError, match="'a', 'b', 'c', 'd', 'e'"):
        figures.spectra({name: [1.0] for name in "abcde"}, tmp_path / "s.png")
    assert not list(tmp_path.iterdir())


def test_the_same_input_gives_the_same_file(tmp_path):
    history = {"first": made_up_history(5)}
    a = figures.curves(history, tmp_path / "a.png").read_bytes()
    assert a == figures.curves(history, tmp_path / "b.png").read_bytes()
