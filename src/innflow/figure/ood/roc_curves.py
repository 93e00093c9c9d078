"""Histograms, ROC curves and p-values of anomaly scores."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill

import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import auc, roc_curve

from innflow.figure.style import new_figure, style


@style()
def plot_histograms(
    scores: Mapping[str, Mapping[str, np.ndarray]], colors: Mapping[str, str]
) -> Figure:
    """Draw the distribution of each score over each set, one panel a score.

    Args:
        scores: title of the panel -> set -> (N,) scores; the same sets in each, inliers first.
        colors: set -> colour.
    """
    columns = _columns(len(scores))
    rows = -(-len(scores) // columns)
    first = next(iter(next(iter(scores.values()))))
    tall, wide = (2.3, 2.6) if columns < 4 else (1.75, 2.2)
    figure, axes = new_figure(rows, columns, height=0.35 + tall * rows, width=wide * columns + 1)
    for position, (axis, (title, sets)) in enumerate(zip(axes, scores.items(), strict=False)):
        pooled = np.concatenate([values[np.isfinite(values)] for values in sets.values()])
        # The axis ends at a quantile: a few extreme items would leave the rest in one bar.
        low, high = np.quantile(pooled, [0.0, 0.99])
        if low == high:
            low, high = low - 0.5, high + 0.5
        edges = np.linspace(low, high, 31).tolist()
        for name, values in sets.items():
            # Values beyond the axis are counted in the last bar.
            clipped = np.clip(values, low, high)
            weights = np.full(len(values), 1 / len(values))
            if name == first:
                # Filled: the inliers.
                axis.hist(clipped, edges, weights=weights, color=colors[name], alpha=0.25)
            axis.hist(
                clipped,
                edges,
                weights=weights,
                histtype="step",
                color=colors[name],
                linewidth=1.3,
                label=f"{name} ({len(values):,})",
            )
        axis.set_title(fill(title, 30))
        if position % columns == 0:
            axis.set_ylabel("share of the set")
        axis.set_xlim(low, high)
        axis.locator_params(nbins=5)
        axis.ticklabel_format(axis="x", useOffset=False)
    for axis in axes[len(scores) :]:
        axis.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)))
    return figure


@style()
def plot_roc(
    scores: Mapping[str, tuple[np.ndarray, Mapping[str, np.ndarray]]], colors: Mapping[str, str]
) -> Figure:
    """Draw ROC curves, outliers positive, one panel a score, with the area in the legend.

    Args:
        scores: title of the panel -> (scores of the inliers (N,), outlier set -> scores (M,)).
        colors: outlier set -> colour.
    """
    columns = min(3, len(scores)) if len(scores) < 10 else 4
    rows = -(-len(scores) // columns)
    width = max(3.2, 2.5 * columns)
    figure, axes = new_figure(rows, columns, height=0.25 + rows * width / columns, width=width)
    for position, (axis, (title, (inliers, outliers))) in enumerate(
        zip(axes, scores.items(), strict=False)
    ):
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
    for axis in axes[len(scores) :]:
        axis.set_axis_off()
    return figure


@style()
def plot_p_values(p_values: np.ndarray, calibration: int, color: str) -> Figure:
    """Draw the histogram and the distribution function of the p-values of inliers.

    Args:
        p_values: (N,) in (0, 1].
        calibration: number of calibration items.
        color: of the inliers.
    """
    figure, (left, right) = new_figure(1, 2, height=2.3, width=5.6)
    bins = 10
    left.hist(
        p_values, np.linspace(0, 1, bins + 1).tolist(), color=color, alpha=0.6, edgecolor="white"
    )
    expected = len(p_values) / bins
    # The edges of the bins are quantiles of the calibration items, which vary too.
    variance = expected * (1 - 1 / bins) * (1 + len(p_values) / calibration)
    low, high = expected - 1.96 * np.sqrt(variance), expected + 1.96 * np.sqrt(variance)
    left.axhspan(max(0, low), high, color="#444444", alpha=0.12, lw=0)
    left.axhline(expected, color="#444444", linewidth=0.9, linestyle=(0, (4, 3)))
    left.set(xlabel="p-value", ylabel="items", xlim=(0, 1), title="histogram")
    ordered = np.sort(p_values)
    right.plot([0, 1], [0, 1], color="#444444", linewidth=0.9, linestyle=(0, (4, 3)))
    right.step(
        np.r_[0, ordered, 1],
        np.r_[0, np.arange(1, len(ordered) + 1), len(ordered)] / len(ordered),
        where="post",
        color=color,
    )
    right.set(xlabel="a", ylabel="share of p-values ≤ a", xlim=(0, 1), ylim=(0, 1))
    right.set(aspect="equal", title="distribution")
    return figure


def _columns(panels: int) -> int:
    """Return the number of panels in a row."""
    if panels < 4:
        return panels
    return 2 if panels < 7 else 3 if panels < 10 else 4
