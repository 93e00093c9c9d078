"""FlowClassifier: classification by Bayes' rule with a flow for each class."""

from typing import Any

import numpy as np
from scipy.special import logsumexp, softmax
from sklearn.base import ClassifierMixin
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from innflow.estimator.base import FlowEstimator, check_weight, random_of
from innflow.estimator.training import draw, log_prob


class FlowClassifier(ClassifierMixin, FlowEstimator):
    """Classifier p(class | x) from densities p(x | class) of one flow given the class.

    Besides probabilities it has the density of x, so that items unlike all classes are found, and
    draws of each class. The parameters are those of `FlowEstimator`; rows may have categories and
    missing values.

    Attributes:
        classes_: the classes, sorted.
        class_prior_: their frequencies in the training rows.

    Example:
        >>> from sklearn.datasets import make_moons
        >>> x, y = make_moons(300, noise=0.05, random_state=0)
        >>> model = FlowClassifier(max_steps=20, random_state=0).fit(x, y)
        >>> model.predict_proba(x[:2]).shape
        (2, 2)
    """

    _mixed = True

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "FlowClassifier":
        """Fit the densities of the classes y (N,) of rows X (N, D)."""
        x = self._check_rows(X, reset=True, ensure_min_samples=2)
        labels = self._check_labels(x, y)
        self.classes_, index = np.unique(labels, return_inverse=True)
        rows = self._fit_columns(x)
        weight = check_weight(sample_weight, rows)
        share = np.ones(len(rows)) if weight is None else weight
        self.class_prior_ = np.bincount(index, share) / share.sum()
        if not self.class_prior_.all():
            label = self.classes_[self.class_prior_.argmin()]
            raise ValueError(f"fit: all rows of class {label} have the weight 0")
        if len(self.classes_) < 2:
            raise ValueError("fit: y has 1 class, which leaves nothing to classify; give two")
        given = self._given(index)
        self.flow_ = self._fit_flow(rows, random_of(self.random_state), given, weight)
        return self

    def class_log_prob(self, X: Any) -> np.ndarray:
        """Return log p(x | class) (N, K), in nats per standardised row."""
        check_is_fitted(self)
        rows = self._rows(X)
        every = range(len(self.classes_))
        given = [self._given(np.full(len(rows), each)) for each in every]
        return np.stack([log_prob(self.flow_, rows, one) for one in given], axis=1)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return p(class | x), (N, K), in the order of `classes_`."""
        return np.asarray(softmax(self._joint(X), axis=1))

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class of each row, (N,)."""
        best = self._joint(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def anomaly(self, X: Any) -> np.ndarray:
        """Return -log p(x), (N,) in nats per standardised row, higher for stranger rows."""
        return -np.asarray(logsumexp(self._joint(X), axis=1))

    def sample(self, label: Any, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Return draws (n_samples, D) of a class, where all columns are numbers.

        Raises:
            ValueError: for an unknown class, and for rows with categories or missing values.
        """
        check_is_fitted(self)
        found = np.flatnonzero(self.classes_ == label)
        if not len(found):
            raise ValueError(f"sample: class {label!r} is unknown: {list(self.classes_)}")
        if len(self.columns_.names()) != len(self.columns_.mean):
            raise ValueError("sample: rows with categories or missing values cannot be drawn")
        given = self._given(np.full(n_samples, found[0]))
        drawn = draw(self.flow_, n_samples, random_of(random_state), given)
        return self.columns_.inverse_transform(drawn)

    def _joint(self, X: Any) -> np.ndarray:
        log_prob = self.class_log_prob(X)
        return np.asarray(log_prob + np.log(self.class_prior_))

    def _given(self, index: np.ndarray) -> np.ndarray:
        """Return the indicators (N, K) of classes."""
        return np.eye(len(self.classes_))[index]

    def _check_labels(self, x: Any, y: Any) -> np.ndarray:
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None"
            )
        labels = column_or_1d(y, warn=True)
        check_consistent_length(x, labels)
        check_classification_targets(labels)
        return np.asarray(labels)
