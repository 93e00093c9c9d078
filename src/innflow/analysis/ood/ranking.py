"""Rank correlation of the scores, and the items of lowest and highest rank."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from innflow.analysis.findings import Findings, Plot, Table
from innflow.analysis.study import Analysis, Study, require_whole
from innflow.errors import InnflowError
from innflow.figure.ood.rank_frames import plot_matrix, plot_ranking
from innflow.metric import spearman_matrix

SAME = 1 - 1e-6
"""Rank correlation above which two scores give one order, up to rounding."""


@dataclass
class Ranking(Analysis):
    """Draw the images of lowest and highest rank by each score, and compare the ranks.

    Test and all outlier sets are pooled; for vectors the ranks are compared only.

        >>> Ranking(shown=4)
        Ranking(shown=4)

    Attributes:
        shown: number of images at each end.
    """

    shown: int = 8

    def check(self, study: Study) -> None:
        """Refuse a run without scores, or with a single one."""
        require_whole("ranking.shown", self.shown, 1)
        if len(study.require_scorer("ranking").scores) < 2:
            raise InnflowError(
                "analysis ranking: the run has a single score, there is nothing to compare: leave "
                "it out with analysis.ranking=null"
            )

    def __call__(self, study: Study) -> Findings:
        """Draw both ends of each order, and the rank correlations of all scores."""
        self.check(study)
        scorer = study.require_scorer("ranking")
        sets = ["test", *study.outliers]
        columns = {name: scorer(study.measure(name)) for name in sets}
        names = study.score_names("ranking")
        pooled = [np.concatenate([columns[part][name] for part in sets]) for name in names]
        scores = np.stack(pooled, axis=1)
        matrix = spearman_matrix(scores)
        groups = _groups(matrix)
        titles = {first: _title(names, first, others) for first, others in groups.items()}
        text = _text(names, matrix, list(groups), len(scores))
        for first, others in groups.items():
            if others:
                listed = " and ".join(names[other] for other in others)
                text += f" The same order as {names[first]}: {listed}."
        findings = Findings("Ranking by the scores", text)
        findings.metrics = {
            f"ranking/{name}/spearman_headline": float(value)
            for name, value in zip(names[1:], matrix[0, 1:], strict=True)
            if np.isfinite(value)
        }
        kept = list(titles)
        findings.figures["spearman"] = Plot(
            plot_matrix(matrix[np.ix_(kept, kept)], list(titles.values()), "Spearman correlation"),
            f"Rank correlation of the scores over {len(scores):,} items of test and of the outlier "
            "sets: 1 where two scores give one order.",
        )
        findings.tables.append(_table(names, matrix))
        if study.is_image:
            findings.figures["images"] = self._plot(study, scores, titles)
        return findings

    def _plot(self, study: Study, scores: np.ndarray, titles: dict[int, str]) -> Plot:
        sets = ["test", *study.outliers]
        counts = [len(study.measure(name)) for name in sets]
        source = np.repeat(sets, counts)
        starts = dict(zip(sets, np.cumsum([0, *counts]), strict=False))
        count = min(self.shown, len(scores))
        orders = {i: np.argsort(scores[:, i], kind="stable") for i in titles}
        chosen = [np.r_[order[:count], order[-count:]] for order in orders.values()]
        wanted, places = np.unique(np.concatenate(chosen), return_inverse=True)
        data = [study.measure(source[i]).data[i - starts[source[i]]] for i in wanted]
        rows = zip(titles.values(), places.reshape(-1, 2, count), strict=True)
        ends = {title: (low, high) for title, (low, high) in rows}
        colors = {name: study.colors[name] for name in sets}
        return Plot(
            plot_ranking(study.picture(np.stack(data)), source[wanted].tolist(), ends, colors),
            f"The {count} images of lowest and the {count} of highest score of {len(scores):,} of "
            "test and of the outlier sets, by each score, from left to right; the frame has the "
            "colour of the set. Scores that give the same order are drawn once.",
        )


def _groups(matrix: np.ndarray) -> dict[int, list[int]]:
    """Return the first score of each order -> the other scores of that order."""
    groups: dict[int, list[int]] = {}
    for i in range(len(matrix)):
        first = next((other for other in groups if matrix[i, other] > SAME), None)
        if first is None:
            groups[i] = []
        else:
            groups[first].append(i)
    return groups


def _title(names: list[str], first: int, others: list[int]) -> str:
    lines = [names[first], *(f"(and {names[other]})" for other in others)]
    return "\n".join(lines).replace("_", " ")


def _text(names: list[str], matrix: np.ndarray, chosen: list[int], items: int) -> str:
    pairs = [
        (matrix[i, j], names[j], names[i])
        for j, i in combinations(chosen, 2)
        if np.isfinite(matrix[i, j])
    ]
    text = (
        f"Over {items:,} items of test and of the outlier sets together, ranks are compared by "
        "Spearman's correlation. "
    )
    if not pairs:
        return text + "There are not two different orders to compare."
    pairs.sort(key=lambda pair: pair[0])
    listed = [f"{a} and {b} {value:.2f}" for value, a, b in pairs]
    text += f"Least alike: {'; '.join(listed[:3])}."
    return text + (f" Most alike: {'; '.join(listed[:2:-1][:3])}." if len(listed) > 3 else "")


def _table(names: list[str], matrix: np.ndarray) -> Table:
    rows = [
        [name, *(f"{value:+.2f}" if np.isfinite(value) else "-" for value in row)]
        for name, row in zip(names, matrix, strict=True)
    ]
    return Table("Spearman correlation between scores", ["score", *names], rows)
