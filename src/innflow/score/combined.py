"""Weighted sum of other anomaly scores, fitted on inliers alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls
from sklearn.covariance import LedoitWolf

from innflow.errors import InnflowError
from innflow.score.base import CompositeScore

IQR = 1.3489795
"""Interquartile range of a standard normal."""


@dataclass
class Combined(CompositeScore):
    """Weighted sum of other scores, each divided by its interquartile range over inliers.

    The weights w are those of the most powerful linear test of a shift of all standardised scores
    by the same amount: with the shrunk covariance S of the inlier scores (Ledoit and Wolf, 2004)
    they maximise (sum of w)^2 / w'Sw over w >= 0. So no outliers are needed, correlated scores
    share their weight, and the sum increases with every score.

    Attributes:
        scores: names of other scores of the same `Scorer`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> score = Combined(["likelihood", "distance"])
        >>> score.fit({"likelihood": rng.normal(size=99), "distance": rng.normal(size=99)})
        >>> score({"likelihood": np.zeros(2), "distance": np.zeros(2)}).shape
        (2,)
    """

    scores: Sequence[str]

    def __post_init__(self) -> None:
        if not self.scores or len(set(self.scores)) < len(self.scores):
            raise InnflowError(
                f"score Combined: scores={list(self.scores)}: must be names of different scores"
            )
        self.parts = self.scores = list(self.scores)

    def fit(self, inliers: Mapping[str, np.ndarray]) -> None:
        """Compute median, interquartile range and weight of each score.

        Raises:
            InnflowError: if a score is not finite, or its interquartile range is 0.
        """
        values = np.stack([inliers[name] for name in self.scores], axis=1)
        bad = ~np.isfinite(values)
        if bad.any():
            name = self.scores[int(bad.any(axis=0).argmax())]
            raise InnflowError(
                f"score Combined: {name} is not finite for {int(bad.any(axis=1).sum())} of "
                f"{len(values)} training inliers: leave it out of scores"
            )
        lower, center, upper = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
        spread = (upper - lower) / IQR
        if not spread.all():
            name = self.scores[int(spread.argmin())]
            raise InnflowError(
                f"score Combined: {name} is the same for half of the training inliers: leave it "
                "out of scores"
            )
        covariance = LedoitWolf().fit((values - center) / spread).covariance_
        # |R'w - R^-1 1|^2 = w'Sw - 2 sum of w + const for S = RR'; its minimum over w >= 0 has the
        # direction of the maximum of the ratio.
        root = np.linalg.cholesky(covariance)
        weights, _ = nnls(root.T, np.linalg.solve(root, np.ones(len(root))))
        self.center_ = center
        self.weights_ = weights / weights.sum() / spread

    def __call__(self, items: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the weighted sum of standardised scores, (N,)."""
        self.check_fitted()
        used = self.weights_ > 0  # 0 times infinity is NaN
        parts = [name for name, kept in zip(self.scores, used, strict=True) if kept]
        values = np.stack([items[name] for name in parts], axis=1)
        return (values - self.center_[used]) @ self.weights_[used]
