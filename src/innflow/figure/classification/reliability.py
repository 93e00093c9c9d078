"""Reliability diagrams."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import beta

from innflow.figure.style import CYCLE, DASHED, new_figure, style

Bins = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Mean confidence, accuracy and number of items of each bin, (K,) each."""


@style()
def plot_reliability(diagrams: Mapping[str, Bins]) -> Figure:
    """Draw accuracy against confidence, and the histogram of confidence.

    The bar of a point is the exact (Clopper and Pearson) 95% interval of its accuracy.

    Args:
        diagrams: name of the classifier -> its bins, as of
            `innflow.metric.class_calibration.reliability`.
    """
    figure, (left, right) = new_figure(1, 2, height=3.3, width=6.2)
    left.plot([0, 1], [0, 1], **DASHED)
    for color, (name, (confidence, accuracy, counts)) in zip(CYCLE, diagrams.items(), strict=False):
        full = counts > 0
        x, y, n = confidence[full], accuracy[full], counts[full]
        low, high = _interval(np.rint(y * n), n)
        error = (np.abs(x - y) * n).sum() / n.sum()
        left.vlines(x, low, high, color=color, linewidth=0.8, alpha=0.6)
        left.plot(x, y, color=color, linewidth=0.8, alpha=0.6)
        left.plot(x, y, "o", color=color, markersize=3.5, label=f"{name}, ECE {error:.3f}")
        edges = np.linspace(0, 1, len(counts) + 1)
        # The baseline is below 1, so that a bar of one item is visible on the log axis.
        right.stairs(counts, edges, baseline=0.5, color=color, linewidth=1.3)
    left.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal", title="reliability")
    left.set(xlabel="confidence", ylabel="accuracy", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    left.grid(True)
    figure.legend(loc="outside lower center", ncols=2)
    right.set(xlim=(-0.02, 1.02), xticks=[0, 0.5, 1], xlabel="confidence", ylabel="items")
    right.set(title="histogram", yscale="log", ylim=(0.5, None))
    return figure


def _interval(successes: np.ndarray, trials: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    failures = trials - successes
    low = np.where(successes == 0, 0.0, beta.ppf(0.025, np.maximum(successes, 1), failures + 1))
    high = np.where(failures == 0, 1.0, beta.ppf(0.975, successes + 1, np.maximum(failures, 1)))
    return low, high
