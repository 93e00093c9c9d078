import io
import warnings

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import binomtest

from innflow.figure.classification.classes import (
    COLORS,
    class_colors,
    plot_modes,
    plot_regions,
)
from innflow.figure.classification.reliability import plot_reliability
from innflow.figure.matrix import plot_confusion

RNG = np.random.default_rng(0)
CENTRES = np.array([[-1.0, 0.0], [1.0, 0.0]])
BINS = (np.array([0.1, np.nan, 0.8]), np.array([0.0, np.nan, 0.75]), np.array([1, 0, 8]))
LONG = [f"Staffordshire Bull Terrier {i}" for i in range(37)]


def regions(classes):
    chances = RNG.dirichlet(np.ones(classes), size=(12, 15))
    points, labels = RNG.normal(size=(30, 2)), RNG.integers(classes, size=30)
    names = [str(i) for i in range(classes)]
    return plot_regions(chances, (-3.0, 3.0, -2.0, 2.0), points, labels, names)


FIGURES = {
    "reliability": lambda: plot_reliability({"flow": BINS}),
    "two reliabilities": lambda: plot_reliability({"flow": BINS, "temperature 2.1": BINS}),
    "confusion of two": lambda: plot_confusion(np.array([[9, 1], [0, 0]]), ["cat", "dog"]),
    "confusion of many": lambda: plot_confusion(np.eye(37, dtype=int), LONG),
    "modes": lambda: plot_modes(
        RNG.normal(size=(50, 2)), RNG.integers(2, size=50), CENTRES, ["a", "b"]
    ),
    "regions": lambda: regions(3),
    "regions of many": lambda: regions(12),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_draw_without_a_warning_and_leave_matplotlib_as_it_was(name):
    before = dict(mpl.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = FIGURES[name]()
        figure.savefig(io.BytesIO(), format="png", dpi=50)
    assert isinstance(figure, Figure)
    assert dict(mpl.rcParams) == before


def test_reliability_shows_the_error_and_exact_intervals():
    figure = plot_reliability({"flow": BINS})
    (legend,) = figure.legends
    # (1 * 0.1 + 8 * 0.05) / 9
    assert [text.get_text() for text in legend.get_texts()] == ["flow, ECE 0.056"]
    bars = figure.axes[0].collections[0].get_segments()
    for bar, (successes, trials) in zip(bars, [(0, 1), (6, 8)], strict=True):
        exact = binomtest(successes, trials).proportion_ci()
        np.testing.assert_allclose(bar[:, 1], [exact.low, exact.high])


def test_confusion_writes_counts_where_there_are_any():
    figure = plot_confusion(np.array([[1200, 3], [0, 7]]), ["cat", "dog"])
    axis = figure.axes[0]
    cells = {text.get_position(): text.get_text() for text in axis.texts}
    assert cells == {(0, 0): "1,200", (1, 0): "3", (1, 1): "7"}
    assert axis.get_title(loc="left") == "1,207 of 1,210 right"
    shares = axis.images[0].get_array()
    np.testing.assert_allclose(shares, [[1200 / 1203, 3 / 1203], [0, 1]])


def test_samples_keep_the_colour_of_their_class_and_circles_are_two_sigma():
    samples = np.array([[-1.0, 0.1], [1.0, 0.2], [90.0, 0.0]])
    figure = plot_modes(samples, np.array([0, 1, 1]), CENTRES, ["a", "b"], sigma=0.3)
    axis = figure.axes[0]
    cloud = axis.collections[0]
    colors = class_colors(2)
    for point, color in zip(cloud.get_offsets(), cloud.get_facecolors(), strict=True):
        np.testing.assert_allclose(color[:3], colors[int(point[0] > 0)])
    assert [patch.get_radius() for patch in axis.patches] == [0.6, 0.6]
    assert [patch.get_center() for patch in axis.patches] == [(-1, 0), (1, 0)]
    assert "1 of them outside the frame" in axis.get_title(loc="left")


def test_regions_mix_colours_by_probability():
    chances = np.array([[[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]])
    figure = plot_regions(chances, (0, 3, 0, 1), np.zeros((1, 2)), np.zeros(1, int), ["a", "b"])
    first, second, middle = np.asarray(figure.axes[0].images[0].get_array())[0]
    np.testing.assert_allclose(middle, (first + second) / 2)
    np.testing.assert_allclose(1 - first, 0.45 * (1 - class_colors(1)[0]))


def test_ten_classes_have_ten_colours():
    assert len({tuple(color) for color in class_colors(10)}) == len(COLORS) == 10
