"""Rank correlation of the scores, and the items of lowest and highest rank."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from innflow.analysis.examples import pick
from innflow.analysis.findings import Findings, Plot, Table, add_correlation
from innflow.analysis.study import Analysis, Study
from innflow.config.bounds import Positive
from innflow.errors import InnflowError
from innflow.figure.matrix import plot_correlations
from innflow.figure.ood.rank_frames import plot_ranking
from innflow.metric import spearman_matrix

SAME = 1 - 1e-6
"""Rank correlation above which two scores give the same order, up to rounding."""


@dataclass
class Ranking(Analysis):
    """Draw the images of lowest and highest rank by each score, and compare the ranks.

    The test set and all outlier sets are pooled. For vectors only the ranks are compared.

        >>> Ranking(shown=4)
        Ranking(shown=4)

    Attributes:
        shown: number of images at each end.
    """

    shown: Positive = 8

    def check(self, study: Study) -> None:
        """Raise InnflowError for a run with fewer than two scores."""
        if len(study.require_scorer("ranking").scores) < 2:
            raise InnflowError(
                "analysis ranking: the run has only one score, there is nothing to compare: leave "
                "it out with analysis.ranking=null"
            )

    def __call__(self, study: Study) -> Findings:
        """Draw both ends of each order, and the rank correlations of all scores."""
        self.check(study)
        scorer = study.require_scorer("ranking")
        columns = [scorer(study.measure(name)) for name in ("test", *study.outliers)]
        names = study.score_names("ranking")
        pooled = [np.concatenate([part[name] for part in columns]) for name in names]
        scores = np.stack(pooled, axis=1)
        matrix, titles = spearman_matrix(scores), order_titles(names, scores)
        kept = list(titles)
        findings = Findings("Ranking by the scores", _text(names, matrix, kept, len(scores)))
        rows = []
        for i, name in enumerate(names):
            cells = [add_correlation({}, "", value) for value in matrix[i]]
            rows.append([name, *cells])
            if i:
                key = f"ranking/{name}/spearman_headline"
                add_correlation(findings.metrics, key, float(matrix[0, i]))
        title = "Spearman correlation between scores"
        findings.tables.append(Table(title, ["score", *names], rows))
        findings.figures["spearman"] = Plot(
            plot_correlations(matrix[np.ix_(kept, kept)], list(titles.values()), title),
            f"Rank correlation of the scores over {len(scores):,} items of test and of the outlier "
            "sets; it is 1 if two scores give the same order.",
        )
        if study.is_image:
            findings.figures["images"] = self._plot(study, scores, titles)
        return findings

    def _plot(self, study: Study, scores: np.ndarray, titles: dict[int, str]) -> Plot:
        sets = ["test", *study.outliers]
        count = min(self.shown, len(scores) // 2)
        orders = [np.argsort(scores[:, i], kind="stable") for i in titles]
        chosen = [np.r_[order[:count], order[-count:]] for order in orders]
        wanted, places = np.unique(np.concatenate(chosen), return_inverse=True)
        data, source = pick(study, sets, wanted)
        rows = zip(titles.values(), places.reshape(-1, 2, count), strict=True)
        ends = {title: (low, high) for title, (low, high) in rows}
        colors = {name: study.colors[name] for name in sets}
        return Plot(
            plot_ranking(study.picture(data), source, ends, colors),
            f"The {count} images with the lowest (left) and the {count} with the highest score "
            f"(right) of {len(scores):,} of test and of the outlier sets, by each score, in rising "
            "order; the frame has the colour of the set. Scores of equal order are drawn once.",
        )


def order_titles(names: Sequence[str], scores: np.ndarray) -> dict[int, str]:
    """Return for each order: column of its first score -> title naming all scores of that order.

    Args:
        names: of the S scores.
        scores: (N, S).
    """
    matrix = spearman_matrix(scores)
    titles: dict[int, str] = {}
    for i, name in enumerate(names):
        first = next((other for other in titles if matrix[i, other] > SAME), i)
        shown = name.replace("_", " ")
        titles[first] = f"{titles[first]}\n(and {shown})" if first in titles else shown
    return titles


def _text(names: list[str], matrix: np.ndarray, chosen: list[int], items: int) -> str:
    pairs = [
        (matrix[i, j], f"{names[j]} and {names[i]} {matrix[i, j]:.2f}")
        for j, i in combinations(chosen, 2)
        if np.isfinite(matrix[i, j])
    ]
    text = (
        f"Over {items:,} items of test and of the outlier sets together, ranks are compared by "
        "Spearman's correlation. "
    )
    if not pairs:
        return text + "All scores give the same order."
    listed = [pair for _, pair in sorted(pairs)]
    text += f"Lowest correlations: {'; '.join(listed[:3])}."
    return text + (
        f" Highest correlations: {'; '.join(listed[:2:-1][:3])}." if len(listed) > 3 else ""
    )
