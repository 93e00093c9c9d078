"""FlowAnomalyDetector: anomalies among rows, from neighbours in data and latent space."""

from typing import Any, Literal

import numpy as np
from sklearn.base import OutlierMixin
from sklearn.model_selection import KFold, train_test_split
from sklearn.neighbors import NearestNeighbors

from innflow.estimator.base import FlowEstimator, random_of
from innflow.estimator.training import encode
from innflow.flow import CouplingFlow
from innflow.flow.builder.vector import CouplingName
from innflow.score import cross_conformal_p_values

FOLDS = 3
"""Flows, and parts of the training rows, where there are few rows."""
FEW = 2000
"""Rows below which every row calibrates a flow that was trained without it."""
CALIBRATION = 0.2
"""Share of the rows that calibrate the p-values where there are many; at most `MOST`."""
MOST = 5000
LEVEL = 0.05
"""Share of new normal rows that are flagged with contamination="auto"."""
_TAIL = 0.9


class FlowAnomalyDetector(OutlierMixin, FlowEstimator):
    """Anomalies among rows, after training on rows that are mostly normal.

    A flow is trained on the rows with noise. The score of a row is the mean of two tail scores: of
    the distance to its nearest training rows, and of the distance to the nearest latents of
    training rows. In latent space every direction has the same scale everywhere, so that distances
    are comparable in dense and in sparse regions. The tail score of a distance is
    log(1 - log p), where p is its tail probability among training rows, each without itself; beyond
    the 90% quantile it is that of an exponential distribution.

    Fewer than 2,000 rows train three flows, each without a third of the rows, which calibrates its
    p-values (cross-conformal prediction; Vovk, "Cross-conformal predictors", 2015); the score is
    the mean over the flows. Otherwise a fifth of the rows is held out.

    Args:
        contamination: "auto" flags 5% of new normal rows; a number is the share of the training
            rows that is flagged.
        n_neighbors: number of neighbours.
        noise: as in `FlowEstimator`; larger than for a density, as the shape of the distribution
            matters more than its details. The other parameters are those of `FlowEstimator`.

    Attributes:
        offset_: threshold on `score_samples`.
        calibration_: scores of the rows that calibrate the p-values, higher for stranger rows.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(100, 3))
        >>> detector = FlowAnomalyDetector(max_steps=10, random_state=0).fit(x)
        >>> detector.predict([[9.0, 9.0, 9.0]]), detector.p_values([[9.0, 9.0, 9.0]]) < 0.05
        (array([-1]), array([ True]))
    """

    _mixed = True

    def __init__(
        self,
        *,
        contamination: float | Literal["auto"] = "auto",
        n_neighbors: int = 5,
        depth: int = 6,
        hidden: int = 64,
        coupling: CouplingName = "spline",
        noise: float = 0.3,
        max_steps: int = 1000,
        batch_size: int = 256,
        learning_rate: float = 2e-3,
        patience: int = 6,
        validation_fraction: float = 0.1,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        super().__init__(
            depth=depth,
            hidden=hidden,
            coupling=coupling,
            noise=noise,
            max_steps=max_steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            patience=patience,
            validation_fraction=validation_fraction,
            random_state=random_state,
            verbose=verbose,
        )
        self.contamination = contamination
        self.n_neighbors = n_neighbors

    def fit(self, X: Any, y: Any = None) -> "FlowAnomalyDetector":
        """Train on rows (N, D), which may hold a few anomalies; y is ignored.

        Raises:
            ValueError: if there are too few rows for the neighbours, or contamination is not
                "auto" or above 0 and at most 0.5.
        """
        share = self.contamination
        if share != "auto" and not (isinstance(share, float | int) and 0 < share <= 0.5):
            raise ValueError(f"contamination={share!r}: must be 'auto', or in (0, 0.5]")
        x = self._check_rows(X, reset=True, ensure_min_samples=2)
        rows = self._fit_columns(x)
        random = random_of(self.random_state)
        self.members_: list[_Member] = []
        held: list[np.ndarray] = []
        for train, calibration in _parts(len(rows), random):
            flow = self._fit_flow(rows[train], random)
            neighbours = min(self.n_neighbors, len(train) - 1)
            self.members_.append(_Member(flow, rows[train], neighbours))
            held.append(self.members_[-1].score(rows[calibration]))
        self._held = held
        self.calibration_ = np.concatenate(held)
        if share == "auto":
            count = len(self.calibration_)
            rank = min(count, int(np.ceil((1 - LEVEL) * (count + 1))))
            self.offset_ = -float(np.sort(self.calibration_)[rank - 1])
        else:
            self.offset_ = float(np.percentile(-self._score(rows).mean(axis=0), 100 * share))
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Return a score of each row, (N,), lower for stranger rows."""
        return -self._score(self._rows(X)).mean(axis=0)

    def decision_function(self, X: Any) -> np.ndarray:
        """Return `score_samples` minus the threshold, (N,): negative for anomalies."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """Return -1 for anomalies and 1 for other rows, (N,)."""
        return np.where(self.decision_function(X) < 0, -1, 1)

    def p_values(self, X: Any) -> np.ndarray:
        """Return conformal p-values, (N,): the share of normal rows that are at least as strange.

        The smallest possible value is 1 / (n + 1) for n rows of calibration.
        """
        rows = self._rows(X)
        return cross_conformal_p_values(zip(self._held, self._score(rows), strict=True))

    def explain(self, X: Any) -> np.ndarray:
        """Return by how much each column makes a row strange, (N, D).

        The value is the fall of the score when the column takes the median of the nearest training
        rows; it is near 0, or below, for a column that has nothing to do with it.
        """
        rows = self._rows(X)
        score = self._score(rows).mean(axis=0)
        usual = np.mean([member.usual(rows) for member in self.members_], axis=0)
        names = self.columns_.names()
        columns = [name for name, _ in self.columns_.parts]
        found = np.zeros((len(rows), len(columns)))
        for at, column in enumerate(columns):
            replaced = rows.copy()
            chosen = [index for index, name in enumerate(names) if name == column]
            replaced[:, chosen] = usual[:, chosen]
            found[:, at] = score - self._score(replaced).mean(axis=0)
        return found

    def _score(self, rows: np.ndarray) -> np.ndarray:
        """Return the score by each flow, (members, N), higher for stranger rows."""
        return np.stack([member.score(rows) for member in self.members_])


class _Tail:
    """Tail scores of distances, from those of training rows."""

    def __init__(self, distances: np.ndarray) -> None:
        self.ordered = np.sort(distances)
        self.edge = float(np.quantile(self.ordered, _TAIL))
        beyond = self.ordered[self.ordered > self.edge] - self.edge
        self.mean = float(beyond.mean()) if len(beyond) else float(self.ordered.std()) or 1.0

    def score(self, distances: np.ndarray) -> np.ndarray:
        count = len(self.ordered) - np.searchsorted(self.ordered, distances, side="left")
        inside = -np.log((1 + count) / (len(self.ordered) + 1))
        start = -np.log(1 - _TAIL)
        outside = start + (distances - self.edge) / self.mean
        tail = np.where(distances > self.edge, outside, np.minimum(inside, start))
        return np.asarray(np.log1p(tail))


class _Member:
    """A flow with the neighbours of its training rows, in data and in latent space."""

    def __init__(self, flow: CouplingFlow, rows: np.ndarray, neighbours: int) -> None:
        self.flow = flow
        self.rows = rows
        self.indices = [_index(rows, neighbours), _index(encode(flow, rows), neighbours)]
        # Without an argument, a row is not its own neighbour.
        self.tails = [_Tail(index.kneighbors()[0][:, -1]) for index in self.indices]

    def score(self, rows: np.ndarray) -> np.ndarray:
        """Return the mean tail score, (N,)."""
        places = (rows, encode(self.flow, rows))
        scores = [
            tail.score(index.kneighbors(place)[0][:, -1])
            for index, tail, place in zip(self.indices, self.tails, places, strict=True)
        ]
        return np.asarray(np.mean(scores, axis=0))

    def usual(self, rows: np.ndarray) -> np.ndarray:
        """Return the medians of the nearest training rows, (N, E)."""
        return np.asarray(np.median(self.rows[self.indices[0].kneighbors(rows)[1]], axis=1))


def _index(rows: np.ndarray, neighbours: int) -> NearestNeighbors:
    # Beyond some ten dimensions one matrix product is faster than a search tree.
    algorithm = "brute" if rows.shape[1] > 15 else "auto"
    return NearestNeighbors(n_neighbors=neighbours, algorithm=algorithm).fit(rows)


def _parts(n: int, random: np.random.RandomState) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return rows to train on and rows that calibrate, once or for each fold."""
    if n >= FEW:
        held = min(int(CALIBRATION * n), MOST)
        train, calibration = train_test_split(np.arange(n), test_size=held, random_state=random)
        return [(train, calibration)]
    folds = KFold(min(FOLDS, n), shuffle=True, random_state=random)
    return list(folds.split(np.arange(n)))
