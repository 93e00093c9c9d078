"""Histograms, ROC curves and p-values of anomaly scores."""

from collections.abc import Mapping
from textwrap import fill

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import auc, roc_curve

from innflow.figure.style import DASHED, GREY, legend_below, new_figure, new_panels, style


@style()
def plot_histograms(
    scores: Mapping[str, Mapping[str, np.ndarray]], colors: Mapping[str, str]
) -> Figure:
    """Draw the distribution of each score over each set, one panel per score.

    Args:
        scores: title of the panel -> set -> (N,) scores; the same sets in each, inliers first.
        colors: set -> colour.
    """
    columns = _columns(len(scores))
    first = next(iter(next(iter(scores.values()))))
    tall, wide = (2.3, 2.6) if columns < 4 else (1.75, 2.2)
    figure, axes = new_panels(len(scores), columns, tall, wide * columns + 1, extra=0.35)
    for position, (axis, (title, sets)) in enumerate(zip(axes, scores.items(), strict=True)):
        pooled = np.concatenate([values[np.isfinite(values)] for values in sets.values()])
        # The axis ends at a quantile: with a few extreme items the others would be in one bar.
        low, high = np.quantile(pooled, [0.0, 0.99])
        if low == high:
            low, high = low - 0.5, high + 0.5
        edges = np.linspace(low, high, 31).tolist()
        for name, values in sets.items():
            # Values beyond the axis are counted in the last bar.
            clipped = np.clip(values, low, high)
            weights, hue = np.full(len(values), 1 / len(values)), colors[name]
            if name == first:
                # The histogram of the inliers is filled.
                axis.hist(clipped, edges, weights=weights, color=hue, alpha=0.25)
            label = f"{name} ({len(values):,})"
            axis.hist(clipped, edges, weights=weights, histtype="step", color=hue, label=label)
        axis.set_title(fill(title, 30))
        if position % columns == 0:
            axis.set_ylabel("share of the set")
        axis.set_xlim(low, high)
        axis.locator_params(nbins=5)
        axis.ticklabel_format(axis="x", useOffset=False)
    legend_below(figure, axes[0], 6)
    return figure


@style()
def plot_roc(
    scores: Mapping[str, tuple[np.ndarray, Mapping[str, np.ndarray]]], colors: Mapping[str, str]
) -> Figure:
    """Draw ROC curves, with outliers as positives, one panel per score, and their areas.

    Args:
        scores: title of the panel -> (scores of the inliers (N,), outlier set -> scores (M,)).
        colors: outlier set -> colour.
    """
    columns = min(3, len(scores)) if len(scores) < 10 else 4
    width = max(3.2, 2.5 * columns)
    figure, axes = new_panels(len(scores), columns, width / columns, width, extra=0.25)
    panels = zip(axes, scores.items(), strict=True)
    for position, (axis, (title, (inliers, outliers))) in enumerate(panels):
        axis.plot([0, 1], [0, 1], color="#B0B6BD", linewidth=0.8, linestyle=(0, (4, 3)))
        for name, values in outliers.items():
            truth = np.r_[np.zeros(len(inliers)), np.ones(len(values))]
            false, true, _ = roc_curve(truth, np.r_[inliers, values])
            axis.plot(false, true, color=colors[name], label=f"{name} {auc(false, true):.3f}")
        axis.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", title=fill(title, 30))
        axis.set(xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        axis.grid(True)
        axis.set_xlabel("false positive rate")
        if position % columns == 0:
            axis.set_ylabel("true positive rate")
        axis.legend(loc="lower right", title="AUROC", alignment="right", handlelength=1.2)
    return figure


@style()
def plot_p_values(p_values: np.ndarray, calibration: int, color: str) -> Figure:
    """Draw histogram and distribution of p-values (N,), calibrated on `calibration` items."""
    figure, (left, right) = new_figure(1, 2, height=2.3, width=5.6)
    bins = 10
    left.hist(p_values, bins, range=(0, 1), color=color, alpha=0.6, edgecolor="white")
    expected = len(p_values) / bins
    # The edges of the bins are quantiles of the calibration items, which are random as well.
    variance = expected * (1 - 1 / bins) * (1 + len(p_values) / calibration)
    low, high = expected - 1.96 * np.sqrt(variance), expected + 1.96 * np.sqrt(variance)
    left.axhspan(max(0, low), high, color=GREY, alpha=0.12, lw=0)
    left.axhline(expected, **DASHED)
    left.set(xlabel="p-value", ylabel="items", xlim=(0, 1), title="histogram")
    right.plot([0, 1], [0, 1], **DASHED)
    shares = np.r_[np.linspace(0, 1, len(p_values) + 1), 1]
    right.step(np.r_[0, np.sort(p_values), 1], shares, where="post", color=color)
    right.set(xlabel="a", ylabel="share of p-values ≤ a", xlim=(0, 1), ylim=(0, 1))
    right.set(aspect="equal", title="distribution")
    return figure


def _columns(panels: int) -> int:
    """Return the number of panels in a row."""
    if panels < 4:
        return panels
    return 2 if panels < 7 else 3 if panels < 10 else 4
