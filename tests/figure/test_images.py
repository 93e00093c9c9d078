import io
import warnings

import numpy as np
import pytest

from innflow.figure.curves import plot_curves
from innflow.figure.image_rows import plot_image_rows
from innflow.figure.matrix import plot_correlations
from innflow.figure.ood.rank_frames import plot_ranking
from innflow.figure.pixels import add_frames, diverging_pixels, map_limit, signed_pixels
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


def ranked(count, n=6):
    return {f"score {i}": (np.arange(n), np.arange(n)[::-1]) for i in range(count)}


MATRIX = np.corrcoef(RNG.normal(size=(16, 5)))
FIGURES = {
    "ranking": lambda: plot_ranking(pictures(6), SETS[:6], ranked(2), COLORS),
    "ranking of many": lambda: plot_ranking(pictures(6, 1, 28), SETS[:6], ranked(14), COLORS),
    "matrix": lambda: plot_correlations(MATRIX, [f"score {i}" for i in range(16)], "r"),
    "matrix with a gap": lambda: plot_correlations(
        np.array([[1, np.nan], [np.nan, 1]]), ["a", "b"], "r"
    ),
    "one cloud": lambda: plot_clouds([cloud(["test"])], COLORS),
    "clouds": lambda: plot_clouds([cloud(SETS, 1500) for _ in range(5)], COLORS),
    "a cloud of equal values": lambda: plot_clouds(
        [Cloud({"test": np.ones(5)}, {"test": np.ones(5)}, "x", "y")], COLORS
    ),
    "curves": lambda: plot_curves(
        {"a": {"test": np.arange(5.0)}}, np.arange(5), COLORS, ("step", "nats")
    ),
    "curves of many": lambda: plot_curves(
        {f"a long name of a score {i}": {n: np.array([0.1, np.nan, 1]) for n in SETS}
         for i in range(14)}, [1, 5, 25], COLORS, ("items", "share"), 0.05, "x"
    ),
    "curves on a log axis": lambda: plot_curves(
        {"": {"test": np.array([1e-6, np.nan, 0.5])}}, [-1, 0, 1], COLORS, ("x", "share"), log="y"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_figures_draw_without_a_warning(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = FIGURES[name]()
        figure.savefig(io.BytesIO(), format="png")


def test_rows_place_each_pixel_and_leave_gaps_between_groups():
    rows = [pictures(4, 1, 48), pictures(2, 3, 48)]
    figure = plot_image_rows(rows, ["", ""], group=2, margin=50)
    canvas = figure.axes[0].images[0].get_array()
    size, gap, wide = 96, 4, 14
    starts = [gap, gap + size + gap, gap + 2 * (size + gap) + wide, gap + 3 * (size + gap) + wide]
    assert canvas.shape == (2 * (size + gap) + gap, starts[-1] + size + gap + 50, 3)
    for x, picture in zip(starts, rows[0], strict=True):
        np.testing.assert_array_equal(canvas[gap : gap + size : 2, x : x + size : 2, 1], picture[0])
    np.testing.assert_array_equal(
        canvas[2 * gap + size + 1 :: 2, starts[1] + 1 : starts[1] + size : 2][:48],
        rows[1][1].transpose(1, 2, 0),
    )
    assert (canvas[2 * gap + size :, starts[2] :] == 255).all()


def test_a_frame_surrounds_an_enlarged_picture():
    picture = pictures(1, 1, 32)
    (framed,) = add_frames(picture, ["#FF0000"])
    assert framed.shape == (3, 72, 72)
    np.testing.assert_array_equal(framed[2, 4:-4:2, 4:-4:2], picture[0, 0])
    for edge in (framed[:, :4], framed[:, -4:], framed[:, :, :4], framed[:, :, -4:]):
        assert (edge.reshape(3, -1).T == [255, 0, 0]).all()


def test_zero_is_the_middle_of_a_signed_map_and_what_lies_beyond_is_clipped():
    values = np.array([-9.0, -2.0, 0.0, 2.0, 9.0])
    assert signed_pixels(values, 2.0).tolist() == [0, 0, 128, 255, 255]
    colors = diverging_pixels(values[None], 2.0)
    assert colors.shape == (3, 1, 5)
    assert np.ptp(colors[:, 0, 2].astype(int)) < 5
    assert colors[2, 0, 0] > colors[0, 0, 0]
    assert colors[0, 0, 4] > colors[2, 0, 4]
    np.testing.assert_array_equal(colors[:, 0, 0], colors[:, 0, 1])


def test_a_scale_leaves_out_the_largest_half_percent_of_what_is_not_zero():
    values = np.r_[np.zeros(5000), np.arange(1.0, 1001.0), -5000.0]
    assert map_limit(values) == pytest.approx(996, abs=1)
    assert map_limit(np.zeros(3)) == 0
