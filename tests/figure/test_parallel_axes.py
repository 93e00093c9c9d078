from __future__ import annotations

import numpy as np
import pytest

from innflow.figure.parallel_axes import plot_parallel


@pytest.fixture
def axis():
    axes = {"lr": ["0.1", "0.01", "0.001"], "kind": ["b", "a", "b"], "depth": ["2", "4", "10"]}
    figure = plot_parallel(axes, "val/nll", np.array([3.0, 1.0, 2.0]), best=1)
    return figure.axes[0]


def jobs(axis) -> np.ndarray:
    return np.array([line.get_ydata() for line in axis.lines if len(line.get_ydata()) == 4])


def test_numbers_keep_their_distances_wide_ranges_their_ratios(axis):
    lines = jobs(axis)[:3]
    np.testing.assert_allclose(lines[:, 0], [1, 0.5, 0])  # lr, on a log axis
    np.testing.assert_allclose(lines[:, 1], [1, 0, 1])  # words, in order
    np.testing.assert_allclose(lines[:, 2], [0, 0.25, 1])  # depth
    np.testing.assert_allclose(lines[:, 3], [1, 0, 0.5])  # the metric


def test_the_best_is_drawn_once_more_over_the_others(axis):
    lines = [line for line in axis.lines if len(line.get_ydata()) == 4]
    assert len(lines) == 4
    np.testing.assert_array_equal(lines[-1].get_ydata(), lines[1].get_ydata())
    assert lines[-1].get_linewidth() > 2 * lines[1].get_linewidth()
    assert [text.get_text() for text in axis.get_xticklabels()] == [
        "lr",
        "kind",
        "depth",
        "val/nll",
    ]


def test_one_job_and_values_that_are_all_equal():
    figure = plot_parallel({"seed": ["1"]}, "m", np.array([2.0]), best=0)
    figure.canvas.draw()
