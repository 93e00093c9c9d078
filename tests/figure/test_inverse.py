import io
import warnings

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from innflow.errors import InnflowError
from innflow.figure.posterior.calibration_curves import plot_coverage, plot_ranks, plot_sharpness
from innflow.figure.posterior.pairs import plot_pairs
from innflow.figure.posterior.profile import plot_profile, plot_recovery, plot_resimulation

RNG = np.random.default_rng(0)


def cloud(columns, n=300):
    return RNG.normal(size=(n, columns))


def names(count):
    return [f"angle {i} (rad)" for i in range(count)]


SPEED = np.c_[RNG.poisson(15, 300), RNG.exponential(size=300)]
OPEN = np.array([[0, np.inf], [0, 8.0]])
FIGURES = {
    "one parameter": lambda: plot_pairs(cloud(1), names(1)),
    "pairs": lambda: plot_pairs(cloud(4), names(4), cloud(4), np.zeros(4)),
    "eight parameters": lambda: plot_pairs(cloud(8), names(8), truth=np.ones(8)),
    "a discrete and a bounded one": lambda: plot_pairs(SPEED, names(2), SPEED, SPEED[0], OPEN),
    "draws all alike": lambda: plot_pairs(np.ones((50, 2)), names(2)),
    "few draws": lambda: plot_pairs(cloud(2, 3), names(2), cloud(2, 2)),
    "the truth far off": lambda: plot_pairs(cloud(2), names(2), truth=np.full(2, 40.0)),
    "profile": lambda: plot_profile(cloud(32), names(32), cloud(32), np.zeros(32)),
    "profile of few": lambda: plot_profile(cloud(2), ["rail", "angle"]),
    "profile of one": lambda: plot_profile(cloud(1), ["rail"]),
    "profile of alike": lambda: plot_profile(cloud(2), ["rail", "rail"]),
    "resimulation": lambda: plot_resimulation(names(2), np.ones(2), 1 + 1e-6 * cloud(2)),
    "exact resimulation": lambda: plot_resimulation(names(1), np.ones(1), np.ones((9, 1))),
    "resimulation with noise": lambda: plot_resimulation(
        names(5), np.ones(5), cloud(5), np.full(5, 0.1)
    ),
    "many observables": lambda: plot_resimulation(names(40), np.ones(40), cloud(40)),
    "many with noise": lambda: plot_resimulation(names(7), np.ones(7), cloud(7), np.ones(7)),
    "recovery": lambda: plot_recovery(cloud(16), cloud(16)),
    "exact recovery": lambda: plot_recovery(SPEED, SPEED),
    "ranks": lambda: plot_ranks(RNG.integers(0, 100, size=(200, 4)), 99, names(4)),
    "many ranks": lambda: plot_ranks(RNG.integers(0, 100, size=(200, 30)), 99, names(30)),
    "many ranks outside": lambda: plot_ranks(np.zeros((50, 30), int), 99, names(30)),
    "coverage": lambda: plot_coverage({k: RNG.uniform(size=90) for k in ("expected", "TARP")}),
    "sharpness": lambda: plot_sharpness(np.array([0.01, 1.3]), names(2)),
    "sharpness of many": lambda: plot_sharpness(RNG.uniform(size=40), names(40)),
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


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("depth (m) at position {} km", ("position (km)", "depth (m)")),
        ("slowness {} m", ("m", "slowness")),
        ("theta {}", ("", "theta")),
    ],
)
def test_common_words_of_the_names_label_the_axes_of_a_profile(text, labels):
    (axis,) = plot_profile(cloud(12), [text.format(i / 2) for i in range(12)]).axes
    assert (axis.get_xlabel(), axis.get_ylabel()) == labels
    assert [tick.get_text() for tick in axis.get_xticklabels()][:2] == ["0.0", "0.5"]


def contours(figure):
    return [c for axis in figure.axes for c in axis.collections if hasattr(c, "levels")]


def test_regions_of_a_pair_hold_68_and_95_percent_of_the_draws():
    draws = cloud(2, 200_000)
    figure = plot_pairs(draws, names(2), reference=draws)
    paths = contours(figure)[1].get_paths()
    inside = [path.contains_points(draws[:20_000]).mean() for path in paths]
    assert inside == pytest.approx([0.95, 0.68], abs=0.02)


def test_axes_and_smoothing_stay_inside_the_limits():
    draws = np.c_[RNG.uniform(size=5000), RNG.normal(size=5000)]
    limits = np.array([[0.0, 1.0], [-np.inf, np.inf]])
    figure = plot_pairs(draws, names(2), limits=limits)
    low, high = figure.axes[0].get_xlim()
    assert (low, high) == pytest.approx((0, 1), abs=0.01)
    assert low >= 0
    assert high <= 1
    # A uniform density does not sag at the limits.
    heights = figure.axes[0].patches[0].get_data().values
    assert heights == pytest.approx(np.ones(len(heights)), abs=0.35)


def test_a_parameter_of_few_values_has_a_bar_a_value():
    figure = plot_pairs(SPEED, names(2))
    edges = figure.axes[0].patches[0].get_data().edges
    assert ((edges % 1) == 0.5).all()


def test_draws_that_are_one_huge_value_are_drawn():
    draws = np.full((50, 2), -9.427e14, dtype=np.float32)
    low, high = plot_pairs(draws, ["a", "b"]).axes[0].get_xlim()
    assert low < draws[0, 0] < high


def test_too_many_pairs_are_refused():
    with pytest.raises(InnflowError, match="9 parameters are too many"):
        plot_pairs(cloud(9), names(9))


def test_truth_off_the_draws_is_in_sight():
    figure = plot_pairs(cloud(2), names(2), truth=np.array([40.0, 0.0]))
    assert figure.axes[0].get_xlim()[1] > 40


def labels(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_ranks_outside_the_band_are_named():
    ranks = RNG.integers(0, 100, size=(300, 20))
    ranks[:, 7] = ranks[:, 7] // 2
    assert labels(plot_ranks(ranks, 99, names(20))) == ["angle 7 (rad) (outside)", "19 others"]
    ranks[:, 7] = RNG.integers(0, 100, size=300)
    assert labels(plot_ranks(ranks, 99, names(20))) == ["20 parameters, all inside"]
    assert labels(plot_ranks(ranks[:, :2], 99, names(2))) == names(2)


def test_residuals_are_all_counted():
    resimulated = np.r_[np.zeros((99, 1)), [[1e9]]]
    figure = plot_resimulation(names(1), np.zeros(1), resimulated)
    assert sum(bar.get_height() for bar in figure.axes[0].containers[0]) == pytest.approx(1)


def test_sharpness_is_written_beside_each_bar():
    figure = plot_sharpness(np.array([0.123, 0.5]), names(2))
    figure.canvas.draw()
    written = [
        text.get_text() for child in figure.axes[0].child_axes for text in child.get_yticklabels()
    ]
    assert written == ["0.12", "0.50"]
