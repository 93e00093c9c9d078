"""FlowDensity: the density of rows, for scikit-learn."""

from typing import Any

import numpy as np
from sklearn.base import DensityMixin
from sklearn.utils.validation import check_is_fitted

from innflow.estimator.base import FlowEstimator, check_weight, random_of
from innflow.estimator.training import draw, log_prob


class FlowDensity(DensityMixin, FlowEstimator):
    """Density of rows, with exact values and exact draws.

    The parameters are those of `FlowEstimator`.

    Attributes:
        n_features_in_: number D of columns.

    Example:
        >>> from sklearn.datasets import make_moons
        >>> x, _ = make_moons(500, noise=0.05, random_state=0)
        >>> density = FlowDensity(max_steps=20, random_state=0).fit(x)
        >>> density.score_samples(x).shape, density.sample(3, random_state=0).shape
        ((500,), (3, 2))
    """

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> "FlowDensity":
        """Fit the density of rows (N, D), of which there are at least two.

        Args:
            X: rows, numbers without missing values.
            y: ignored.
            sample_weight: (N,) weights of the rows in the likelihood.
        """
        x = self._check_rows(X, reset=True, ensure_min_samples=2)
        weight = check_weight(sample_weight, x)
        rows = self._fit_columns(x)
        self.flow_ = self._fit_flow(rows, random_of(self.random_state), weight=weight)
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Return log p(x), (N,) in nats, in the units of the data."""
        rows = self._rows(X)
        return log_prob(self.flow_, rows) - self.columns_.log_volume

    def score(self, X: Any, y: Any = None) -> float:
        """Return the mean of log p(x) over the rows, in nats."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Return draws (n_samples, D); with random_state=None they differ at each call."""
        check_is_fitted(self)
        drawn = draw(self.flow_, n_samples, random_of(random_state))
        return self.columns_.inverse_transform(drawn)
