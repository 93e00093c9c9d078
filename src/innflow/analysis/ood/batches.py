"""Power of tests of whole batches against the size of the batch."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from innflow.analysis.findings import Findings, Plot, Table
from innflow.analysis.study import Analysis, Study
from innflow.config.bounds import Positive, Share, Sizes
from innflow.errors import InnflowError
from innflow.figure.curves import plot_curves
from innflow.score.batch import Power, batch_p_value, batch_power, typicality_power
from innflow.system.progress import track

MOST_CALIBRATION = 2000
"""Largest number of calibration items; the time to count the null distribution grows with it."""

TYPICALITY = "typicality_of_the_mean"
Shares = dict[str, dict[int, float]]
"""Set -> batch size -> share of its batches that are flagged; the inliers are "test"."""


@dataclass
class Batches(Analysis):
    """Test random batches of outliers and of inliers by the rank sum of each score.

    A further test is the typicality of a batch, two-sided, by its mean log likelihood (Nalisnick et
    al., arXiv:1906.02994).

        >>> Batches(sizes=(1, 10)).alpha
        0.05

    Attributes:
        sizes: numbers of items in a batch.
        draws: number of batches of each set and size.
        alpha: significance level: the share of inlier batches that may be flagged.
    """

    sizes: Sizes = (1, 2, 5, 10, 25)
    draws: Positive = 500
    alpha: Share = 0.05

    def check(self, study: Study) -> None:
        """Raise InnflowError for a run without scores, and for batches that are too large."""
        study.require_scorer("batches")
        if max(self.sizes) > len(study.test_index):
            raise InnflowError(
                f"analysis.batches.sizes={list(self.sizes)}: the evaluation half of the "
                f"test set has {len(study.test_index)} items"
            )
        # Raises an error if the null distribution takes too long to count; it is cached.
        batch_p_value(np.zeros(len(_calibration(study))), np.zeros(max(self.sizes)))

    def __call__(self, study: Study) -> Findings:
        """Tabulate and draw the shares of batches that are flagged."""
        self.check(study)
        scorer = study.require_scorer("batches")
        columns = {name: scorer(study.measure(name)) for name in ("test", *study.outliers)}
        names = study.score_names("batches")
        found = {}
        for name in track(names, "batches"):
            scores = {part: values[name] for part, values in columns.items()}
            found[name] = self._shares(study, scores, batch_power)
        found[TYPICALITY] = self._typicality(study)
        findings = Findings("Batches", self._text(study, names[0], found[names[0]]))
        for name, shares in found.items():
            for part, values in shares.items():
                key = "inliers/flagged" if part == "test" else f"{part}/power"
                for size, share in values.items():
                    findings.metrics[f"batches/{name}/{key}_{size}"] = share
        labels = {name: _label(name) for name in columns}
        panels: dict[str, dict[str, np.ndarray]] = {}
        drawn: list[Shares] = []
        for name, shares in found.items():
            if shares in drawn:  # Scores with the same order flag the same batches.
                continue
            drawn.append(shares)
            panels[name.replace("_", " ")] = {
                labels[part]: np.array([values.get(size, np.nan) for size in self.sizes])
                for part, values in shares.items()
            }
        colors = {labels[name]: study.colors[name] for name in columns}
        axes = "items in a batch", "share flagged"
        findings.figures["batches"] = Plot(
            plot_curves(panels, self.sizes, colors, axes, level=self.alpha, log="x"),
            f"Share of {study.count(self.draws, 50)} random batches that the rank-sum test of "
            f"each score flags at level {self.alpha:g} (dashed), by batch size; "
            "the test of typicality is two-sided. The share of inlier batches should be near the "
            "level; it varies by chance, since all batches share the two halves of test.",
        )
        findings.tables.append(self._table(found))
        return findings

    def _typicality(self, study: Study) -> Shares:
        nll = {name: -study.measure(name).log_prob for name in ("test", *study.outliers)}
        entropy = -float(study.measure("train").log_prob.mean(dtype=np.float64))
        return self._shares(study, nll, partial(typicality_power, entropy=entropy))

    def _shares(
        self, study: Study, scores: dict[str, np.ndarray], test: Callable[..., Power]
    ) -> Shares:
        calibration = scores["test"][_calibration(study)]
        inliers = scores["test"][study.test_index]
        shares: Shares = {"test": {}, **{name: {} for name in study.outliers}}
        for size in self.sizes:
            false = []
            for name in study.outliers or ["test"]:
                others = scores[name] if name != "test" else inliers
                if len(others) < size:
                    continue
                draws = study.count(self.draws, 50)
                power = test(calibration, inliers, others, size, draws, self.alpha, study.seed)
                false.append(power.inliers)
                if name != "test":
                    shares[name][size] = power.outliers
            if false:
                shares["test"][size] = float(np.mean(false))
        return shares

    def _text(self, study: Study, headline: str, shares: Shares) -> str:
        at = 10 if 10 in self.sizes else max(self.sizes)
        text = (
            "A batch is flagged if the rank sum of its scores among those of calibration "
            f"inliers is too high (Mann-Whitney, exact, level {self.alpha:g}; "
            f"{len(_calibration(study)):,} calibration items, {study.count(self.draws, 50)} "
            "random batches of each kind). "
        )
        found = [f"{name} {shares[name][at]:.1%}" for name in study.outliers if at in shares[name]]
        if found:
            text += f"Share of batches of {at} outliers flagged by {headline}: {', '.join(found)}. "
        if at in shares["test"]:
            text += f"Of batches of {at} test inliers {shares['test'][at]:.1%} are flagged."
        small = [name for name in study.outliers if len(study.sets[name]) < max(self.sizes)]
        if small:
            text += f" Sets with fewer items than the largest batches: {', '.join(small)}."
        return text

    def _table(self, found: dict[str, Shares]) -> Table:
        rows = []
        for name, shares in found.items():
            for part, values in shares.items():
                cells = (f"{values[size]:.3f}" if size in values else "-" for size in self.sizes)
                rows.append([name, _label(part), *cells])
        title = (
            f"Share of batches flagged at level {self.alpha:g}, by the number of items in a batch"
        )
        return Table(title, ["score", "batches of", *map(str, self.sizes)], rows)


def _calibration(study: Study) -> np.ndarray:
    """Return the indices of the test items with which batches are compared."""
    half = study.calibration_index
    if len(half) <= MOST_CALIBRATION:
        return half
    rng = np.random.default_rng(study.seed)
    return np.sort(rng.choice(half, MOST_CALIBRATION, replace=False))


def _label(name: str) -> str:
    return "test (inliers)" if name == "test" else name
