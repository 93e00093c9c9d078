"""One score of many, chosen and fitted on inliers alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import nnls
from sklearn.covariance import LedoitWolf

from innflow.errors import InnflowError

IQR = 1.3489795
"""Interquartile range of a standard normal."""


@dataclass
class Combined:
    """A weighted sum of other scores, each divided by its spread over inliers.

    Nothing is known of outliers, so none of the scores is preferred: the weights are the most
    powerful ones against a shift of all standardised scores by the same amount, given how the
    scores of inliers go together. For the shrunk covariance S (Ledoit and Wolf, 2004) they maximise
    (sum of w)^2 / w'Sw over w >= 0, so w is proportional to S^-1 1 where that is positive. Scores
    that say the same share one weight. A weight is never negative: each part is stranger where it
    is higher, and the sum must be too.

    Attributes:
        scores: names of other scores of the same `Scorer`, which fits this one on their values.
    """

    scores: Sequence[str]
    center: np.ndarray | None = field(default=None, init=False, repr=False)
    weights: np.ndarray | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.scores or len(set(self.scores)) < len(self.scores):
            raise InnflowError(
                f"score Combined: scores={list(self.scores)}: takes names of different scores"
            )
        self.scores = list(self.scores)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the scores whose values it is made of."""
        return tuple(self.scores)

    def fit(self, inliers: Mapping[str, np.ndarray]) -> None:
        """Learn median, spread and weight of each score.

        Args:
            inliers: name -> (N,) scores of inliers that these scores were not fitted on.

        Raises:
            InnflowError: where a score is not finite, or is the same for half of the inliers.
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
        # |R'w - R^-1 1|^2 = w'Sw - 2 sum of w + const for S = RR', and at its least over w >= 0
        # lies in the direction that maximises the ratio.
        root = np.linalg.cholesky(covariance)
        weights, _ = nnls(root.T, np.linalg.solve(root, np.ones(len(root))))
        self.center = center
        self.weights = weights / weights.sum() / spread

    def __call__(self, items: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the weighted sum of standardised scores, (N,).

        Args:
            items: name -> (N,) scores of the items.
        """
        if self.center is None or self.weights is None:
            raise InnflowError("Combined: fit it on training inliers first")
        used = self.weights > 0  # 0 times infinity is no number
        parts = [name for name, kept in zip(self.scores, used, strict=True) if kept]
        values = np.stack([items[name] for name in parts], axis=1)
        return (values - self.center[used]) @ self.weights[used]

    def state(self) -> dict[str, np.ndarray]:
        """Return the median of each score and its weight in the score's own unit."""
        if self.center is None or self.weights is None:
            return {}
        return {"center": self.center, "weights": self.weights}

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take both back."""
        self.center, self.weights = state["center"], state["weights"]
