"""FlowPosterior: the posterior of parameters given data, from pairs of both."""

from typing import Any

import numpy as np
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.validation import check_is_fitted

from innflow.estimator.base import FlowEstimator, random_of
from innflow.estimator.columns import Columns
from innflow.estimator.training import draw, log_prob


class FlowPosterior(FlowEstimator):
    """Posterior p(theta | y) of parameters theta given data y, from simulated pairs.

    The parameters are those of `FlowEstimator`.

    Example:
        >>> random = np.random.default_rng(0)
        >>> theta = random.normal(size=(500, 2))
        >>> y = theta + 0.1 * random.normal(size=(500, 2))
        >>> posterior = FlowPosterior(max_steps=20, random_state=0).fit(theta, y)
        >>> posterior.sample(y[0], 100).shape, posterior.log_prob(theta[:5], y[:5]).shape
        ((100, 2), (5,))
    """

    def fit(self, theta: Any, y: Any) -> "FlowPosterior":
        """Fit the posterior from parameters theta (N, P) and their data y (N, M)."""
        x = self._check_rows(theta, reset=True, ensure_min_samples=2)
        data = check_array(y, dtype=np.float64, ensure_2d=True)
        check_consistent_length(x, data)
        self.data_columns_ = Columns().fit(data)
        rows = self._fit_columns(x)
        given = self.data_columns_.transform(data)
        self.flow_ = self._fit_flow(rows, random_of(self.random_state), given)
        return self

    def log_prob(self, theta: Any, y: Any) -> np.ndarray:
        """Return log p(theta | y), (N,) in nats, of rows (N, P) given y (N, M), or one y (M,)."""
        rows = self._rows(theta)
        return log_prob(self.flow_, rows, self._given(y, len(rows))) - self.columns_.log_volume

    def sample(self, y: Any, n_samples: int = 1000, random_state: Any = None) -> np.ndarray:
        """Return draws (n_samples, P) of the parameters given one observation y (M,)."""
        check_is_fitted(self)
        given = self._given(y, n_samples)
        drawn = draw(self.flow_, n_samples, random_of(random_state), given)
        return self.columns_.inverse_transform(drawn)

    def _given(self, y: Any, n: int) -> np.ndarray:
        data = check_array(np.atleast_2d(np.asarray(y, dtype=np.float64)))
        expected = len(self.data_columns_.mean)
        if data.shape[1] != expected or len(data) not in (1, n):
            raise ValueError(
                f"y has the shape {data.shape}, expected ({expected},) or ({n}, {expected})"
            )
        return np.broadcast_to(self.data_columns_.transform(data), (n, expected)).copy()
