import io
import warnings

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from innflow.figure.image_rows import plot_image_rows
from innflow.figure.latent_plane import plot_clusters, plot_latent
from innflow.figure.learning_curves import plot_learning_curves
from innflow.figure.ood.roc_curves import plot_histograms, plot_p_values, plot_roc
from innflow.figure.plane import plot_deformed_grid, plot_densities, plot_maps, plot_pointwise
from innflow.figure.style import DPI, OUTLIERS, ROLES, palette, to_png

RNG = np.random.default_rng(0)
SETS = [f"set {i}" for i in range(12)]
COLORS = palette({"test": "inlier", **dict.fromkeys(SETS, "outlier")})


def scores(count):
    return {name: RNG.normal(i, 1, size=40) for i, name in enumerate(["test", *SETS][:count])}


def pictures(n, channels, size=8):
    return RNG.integers(0, 256, size=(n, channels, size, size)).astype(np.uint8)


def cloud(n=60):
    return RNG.normal(size=(n, 2))


LABELS = ("first", "second")
LINES = np.stack([cloud(20) for _ in range(6)])
EXTENT = (-3.0, 3.0, -2.0, 2.0)
X, Y = np.meshgrid(np.linspace(-3, 3, 40), np.linspace(-2, 2, 30))
BUMP = np.exp(-0.5 * (X**2 + Y**2))
FIGURES = {
    "histograms of one set": lambda: plot_histograms({"a": scores(1)}, COLORS),
    "histograms": lambda: plot_histograms({str(i): scores(5) for i in range(4)}, COLORS),
    "histograms of many sets": lambda: plot_histograms({"a": scores(13)}, COLORS),
    "histogram of equal scores": lambda: plot_histograms({"a": {"test": np.ones(9)}}, COLORS),
    "histogram with an infinite score": lambda: plot_histograms(
        {"a": {"test": np.array([1.0, 2.0, np.inf])}}, COLORS
    ),
    "roc": lambda: plot_roc({"a": (scores(1)["test"], {"set 0": np.ones(7)})}, COLORS),
    "roc of many": lambda: plot_roc(
        {str(i): (scores(1)["test"], {n: RNG.normal(size=9) for n in SETS}) for i in range(4)},
        COLORS,
    ),
    "p-values": lambda: plot_p_values(RNG.uniform(size=50), 50, "red"),
    "one row": lambda: plot_image_rows([pictures(3, 3)], [""]),
    "grey rows": lambda: plot_image_rows([pictures(3, 1), pictures(2, 1)], ["a", "b\nc"]),
    "rows with all": lambda: plot_image_rows(
        [pictures(3, 3, 28)] * 4, list("abcd"), list("xyz"), [["1", "2\n3", "4"], [], ["5"]], 2
    ),
    "large pictures": lambda: plot_image_rows([pictures(2, 3, 128)], ["a"]),
    "latent": lambda: plot_latent({"test": cloud()}, COLORS, LABELS),
    "latent of many": lambda: plot_latent({n: cloud(900) for n in COLORS}, COLORS, LABELS),
    "clusters": lambda: plot_clusters(cloud(), [cloud(5)] * 9, pictures(9, 3), LABELS),
    "grey cluster": lambda: plot_clusters(cloud(), [cloud(5)], pictures(1, 1), LABELS),
    "maps": lambda: plot_maps(cloud(), cloud(), cloud(), cloud()),
    "density": lambda: plot_densities([("flow", BUMP)], EXTENT),
    "densities": lambda: plot_densities([("p", BUMP), ("q", BUMP**2)], EXTENT, cloud()),
    "deformed grid": lambda: plot_deformed_grid(LINES, LINES**3, cloud()),
    "pointwise": lambda: plot_pointwise(BUMP[0], BUMP[1]),
    "learning curves": lambda: plot_learning_curves(
        {x: {"train": (np.arange(99), RNG.normal(size=99)), "val": (np.ones(1), np.ones(1))}
         for x in ("step", "minutes")}, "nats"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FIGURES)
def test_figures_draw_without_a_warning_and_leave_matplotlib_as_it_was(name):
    before = dict(mpl.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = FIGURES[name]()
        figure.savefig(io.BytesIO(), format="png", dpi=50)
        figure.savefig(io.BytesIO(), format="svg")
    assert isinstance(figure, Figure)
    assert dict(mpl.rcParams) == before


def test_pictures_keep_their_pixels():
    picture = pictures(1, 3, 8)
    figure = plot_image_rows([picture], [""])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="rgba", dpi=DPI)
    width, height = (round(side * DPI) for side in figure.get_size_inches())
    drawn = np.frombuffer(buffer.getvalue(), np.uint8).reshape(height, width, 4)[..., :3]
    enlarged = picture[0].transpose(1, 2, 0).repeat(12, axis=0).repeat(12, axis=1)
    rows = np.flatnonzero((drawn != 255).any(axis=(1, 2)))
    columns = np.flatnonzero((drawn != 255).any(axis=(0, 2)))
    seen = drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    np.testing.assert_array_equal(seen, enlarged)


def test_a_file_shows_what_stands_beyond_the_edge_of_the_figure():
    def ink(place: float) -> int:
        figure = Figure((2, 1))
        figure.text(place, 0.5, "abc")
        with Image.open(io.BytesIO(to_png(figure))) as drawn:
            return int((np.asarray(drawn.convert("L")) < 128).sum())

    assert ink(0.95) == pytest.approx(ink(0.3), rel=0.1)


def test_histogram_counts_every_item():
    values = np.r_[np.zeros(99), 1e9]
    figure = plot_histograms({"a": {"test": values}}, COLORS)
    filled = figure.axes[0].containers[0]
    assert sum(bar.get_height() for bar in filled) == pytest.approx(1)


def test_roc_writes_the_area_in_the_legend():
    figure = plot_roc({"a": (np.arange(4.0), {"set 0": np.array([2.5, 9.0])})}, COLORS)
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert texts == ["set 0 0.875"]


def test_colours_follow_roles():
    colors = palette({"train": "train", "test": "inlier", "dog": "outlier", "ball": "outlier"})
    assert colors["test"] == ROLES["inlier"]
    assert [colors["dog"], colors["ball"]] == list(OUTLIERS[:2])
    assert len({*ROLES.values(), *OUTLIERS}) == len(ROLES) + len(OUTLIERS)


def test_contours_hold_their_share_of_the_mass():
    x, y = np.meshgrid(np.linspace(-6, 6, 400), np.linspace(-6, 6, 400))
    density = np.exp(-0.5 * (x**2 + y**2)) / (2 * np.pi)
    figure = plot_densities([("normal", density)], (-6, 6, -6, 6))
    contours = next(c for c in figure.axes[0].collections if hasattr(c, "levels"))
    # Of a standard normal in the plane, the share inside the contour at level h is 1 - 2 pi h.
    shares = 1 - 2 * np.pi * np.array(contours.levels)
    np.testing.assert_allclose(shares, [0.95, 0.68, 0.25], atol=0.005)
