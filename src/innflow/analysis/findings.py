"""Results of an analysis: text, metrics, figures and tables."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from innflow.metric import pearson, spearman


@dataclass
class Plot:
    """A figure and its caption.

    >>> Plot(Figure(), "An empty figure.").caption
    'An empty figure.'
    """

    figure: Figure
    caption: str


@dataclass
class Table:
    """A table of the report; every cell is text, or a picture as `data:image/png;base64,...`.

    >>> len(Table("Sizes", ["set", "items"], [["train", "100"]]).rows)
    1
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass
class Findings:
    """Results of one analysis.

        >>> Findings("Likelihood", "Two sentences.", {"test/nll": 1.5}).metrics
        {'test/nll': 1.5}

    Attributes:
        title: of its section in the report.
        text: plain sentences with the numbers; blank lines separate paragraphs.
        metrics: for metrics.json.
        figures: name -> figure with its caption.
        tables: for the report.
        items: columns of scores.csv, each (N,); from the analysis of scores only.
    """

    title: str
    text: str
    metrics: dict[str, float] = field(default_factory=dict)
    figures: dict[str, Plot] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    items: dict[str, np.ndarray] = field(default_factory=dict)


def finite_mean(values: ArrayLike) -> float:
    """Return the mean of the finite values, NaN where there is none."""
    numbers = np.asarray(values, dtype=np.float64)
    finite = numbers[np.isfinite(numbers)]
    return float(finite.mean()) if len(finite) else np.nan


def add_correlation(metrics: dict[str, float], key: str, value: float) -> str:
    """Add a correlation to the metrics and return its cell; NaN is left out, its cell is "-"."""
    if not np.isfinite(value):
        return "-"
    metrics[key] = value
    return f"{value:+.3f}"


def correlate(metrics: dict[str, float], key: str, x: np.ndarray, y: np.ndarray) -> list[str]:
    """Add Pearson's and Spearman's correlation as `KEY/pearson` and `KEY/spearman`.

    Returns their table cells.
    """
    kinds = {"pearson": pearson, "spearman": spearman}
    return [
        add_correlation(metrics, f"{key}/{kind}", compute(x, y)) for kind, compute in kinds.items()
    ]
