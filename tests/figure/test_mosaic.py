import io
import warnings

import numpy as np
import pytest

from innflow.figure.curves import plot_curves
from innflow.figure.mosaic import (
    blank,
    diverging_bar,
    diverging_pixels,
    paste,
    show,
    signed_pixels,
    whole_factor,
)
from innflow.figure.ood.coupling_maps import map_limit, plot_coupling_maps
from innflow.figure.ood.difference_histogram import plot_texture
from innflow.figure.ood.phase import plot_phases, plot_swapped
from innflow.figure.ood.rank_frames import plot_matrix, plot_ranking
from innflow.figure.scatter import Cloud, plot_clouds
from innflow.figure.style import palette

RNG = np.random.default_rng(0)
SETS = ["test", *(f"set {i}" for i in range(9))]
COLORS = palette({name: "outlier" if i else "inlier" for i, name in enumerate(SETS)})


def pictures(n, channels=3, size=8):
    return RNG.integers(0, 256, size=(n, channels, size, size)).astype(np.uint8)


def cloud(sets, n=30):
    values = {name: RNG.normal(size=n) for name in sets}
    return Cloud(values, values, "x", "y", "title", diagonal=True)


def maps(rows, n, scale=1.0):
    return scale * RNG.normal(size=(rows, n, 8, 8))


def ranked(count, n=6):
    return {f"score {i}": (np.arange(n), np.arange(n)[::-1]) for i in range(count)}


MATRIX = np.corrcoef(RNG.normal(size=(16, 5)))
DENSITY = np.full(511, 1e-9)
DENSITY[200:300] = 0.01
FIGURES = {
    "coupling maps": lambda: plot_coupling_maps(
        pictures(3), SETS[:3], maps(2, 3), maps(2, 3), ["level 1\ncoupling 1", "b"]
    ),
    "maps of one grey picture": lambda: plot_coupling_maps(
        pictures(1, 1), ["test"], maps(1, 1, 0.0), maps(1, 1, 0.0), ["a"]
    ),
    "ranking": lambda: plot_ranking(pictures(6), SETS[:6], ranked(2), COLORS),
    "ranking of many": lambda: plot_ranking(pictures(6, 1, 28), SETS[:6], ranked(14), COLORS),
    "matrix": lambda: plot_matrix(MATRIX, [f"score {i}" for i in range(16)], "r"),
    "matrix with a gap": lambda: plot_matrix(np.array([[1, np.nan], [np.nan, 1]]), ["a", "b"], "r"),
    "one cloud": lambda: plot_clouds([cloud(["test"])], COLORS),
    "clouds": lambda: plot_clouds([cloud(SETS, 1500) for _ in range(5)], COLORS),
    "a cloud of equal values": lambda: plot_clouds(
        [Cloud({"test": np.ones(5)}, {"test": np.ones(5)}, "x", "y")], COLORS
    ),
    "texture": lambda: plot_texture({n: DENSITY for n in SETS}, [cloud(SETS)] * 2, COLORS),
    "curves": lambda: plot_curves(
        {"a": {"test": np.arange(5.0)}}, np.arange(5), COLORS, ("step", "nats")
    ),
    "curves of many": lambda: plot_curves(
        {f"a long name of a score {i}": {n: np.array([0.1, np.nan, 1]) for n in SETS}
         for i in range(14)}, [1, 5, 25], COLORS, ("items", "share"), 0.05, True
    ),
    "swapped": lambda: plot_swapped(
        [pictures(3), pictures(3)], [pictures(1)] * 2, np.linspace(0, 1, 3), maps(1, 2)[0, :, 0, :3]
    ),
    "phases": lambda: plot_phases(
        np.linspace(0, 1, 3),
        RNG.normal(size=(9, 3)),
        {"amplitude": RNG.normal(size=9), "phase": RNG.normal(size=9)},
        "blue",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_figures_draw_without_a_warning(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = FIGURES[name]()
        figure.savefig(io.BytesIO(), format="png")


def test_a_pasted_pixel_stays_a_pixel():
    picture = pictures(1, 1, 4)[0]
    canvas = blank(30, 40)
    paste(canvas, picture, 10, 8, 3, frame="#FF0000")
    np.testing.assert_array_equal(canvas[8:20:3, 10:22:3, 0], picture[0])
    np.testing.assert_array_equal(canvas[10:22:3, 12:24:3, 2], picture[0])
    assert canvas[4, 6].tolist() == canvas[23, 25].tolist() == [255, 0, 0]
    assert canvas[3, 6].tolist() == canvas[24, 25].tolist() == [255, 255, 255]
    figure, axis = show(canvas)
    assert (figure.get_figwidth() * figure.dpi, figure.get_figheight() * figure.dpi) == (40, 30)
    np.testing.assert_array_equal(axis.images[0].get_array(), canvas)


def test_zero_is_the_middle_of_a_signed_map_and_what_lies_beyond_is_clipped():
    values = np.array([-9.0, -2.0, 0.0, 2.0, 9.0])
    assert signed_pixels(values, 2.0).tolist() == [0, 0, 128, 255, 255]
    colors = diverging_pixels(values[None], 2.0)
    assert colors.shape == (3, 1, 5)
    assert np.ptp(colors[:, 0, 2].astype(int)) < 5
    assert colors[2, 0, 0] > colors[0, 0, 0]
    assert colors[0, 0, 4] > colors[2, 0, 4]
    np.testing.assert_array_equal(colors[:, 0, 0], colors[:, 0, 1])
    assert diverging_bar(9, 2).shape == (2, 9, 3)


def test_a_scale_leaves_out_the_largest_half_percent_of_what_is_not_zero():
    values = np.r_[np.zeros(5000), np.arange(1.0, 1001.0), -5000.0]
    assert map_limit(values) == pytest.approx(996, abs=1)
    assert map_limit(np.zeros(3)) == 0


def test_pictures_are_enlarged_by_a_whole_factor():
    assert whole_factor(np.zeros((2, 3, 32, 32)), 96) == 3
    assert whole_factor(np.zeros((2, 3, 128, 128)), 96) == 1
