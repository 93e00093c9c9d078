"""What the estimators share: parameters, checks of the input, and training."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from innflow.estimator.columns import Columns, has_categories
from innflow.estimator.training import Settings, fit_flow
from innflow.flow import CouplingFlow
from innflow.flow.builder.vector import CouplingName

LARGEST_SEED = 2**31 - 1


class FlowEstimator(BaseEstimator):
    """Base of the estimators: a neural spline flow that is trained in memory.

    Args:
        depth: number of couplings.
        hidden: width of the layers of the coupling networks.
        coupling: "affine" or "spline".
        noise: standard deviation of noise that is added in training, in units of the standard
            deviation of a column. It limits how narrow the density can become around single rows.
        max_steps: largest number of training steps.
        batch_size: rows of a step.
        learning_rate: of Adam, at the beginning.
        patience: evaluations without improvement after which the training ends.
        validation_fraction: of the training rows, by which the weights are chosen.
        random_state: seed, `RandomState` or None.
        verbose: 1 prints the progress.
    """

    def __init__(
        self,
        *,
        depth: int = 6,
        hidden: int = 64,
        coupling: CouplingName = "spline",
        noise: float = 0.03,
        max_steps: int = 1000,
        batch_size: int = 256,
        learning_rate: float = 2e-3,
        patience: int = 6,
        validation_fraction: float = 0.1,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.depth = depth
        self.hidden = hidden
        self.coupling = coupling
        self.noise = noise
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.random_state = random_state
        self.verbose = verbose

    _mixed = False
    """Whether categories and missing values are allowed."""

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn has to know of the input."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._mixed
        return tags

    def _check_rows(self, x: Any, reset: bool, **checks: Any) -> Any:
        """Return rows as an array of numbers, or a data frame with categories as it is."""
        if has_categories(x):
            if not self._mixed:
                raise ValueError(
                    f"{type(self).__name__}: columns of text, categories or truth values have no "
                    "density: encode them as numbers, or leave them out"
                )
            validate_data(self, x, reset=reset, skip_check_array=True)
            return x
        finite = "allow-nan" if self._mixed else True
        return validate_data(
            self, x, reset=reset, dtype=np.float64, ensure_all_finite=finite, **checks
        )

    def _fit_columns(self, x: Any) -> np.ndarray:
        """Fit the standardisation of the columns and return the rows, (N, E)."""
        self.columns_ = Columns().fit(x)
        return self.columns_.transform(x)

    def _rows(self, x: Any) -> np.ndarray:
        """Return rows (N, E) in the units of the flow."""
        check_is_fitted(self)
        return self.columns_.transform(self._check_rows(x, reset=False))

    def _fit_flow(
        self,
        rows: np.ndarray,
        random: np.random.RandomState,
        context: np.ndarray | None = None,
        weight: np.ndarray | None = None,
    ) -> CouplingFlow:
        if weight is not None:  # a row of weight 0 is as one that is not there
            used = weight > 0
            rows, weight = rows[used], weight[used]
            context = None if context is None else context[used]
        settings = Settings(
            depth=self.depth,
            hidden=self.hidden,
            coupling=self.coupling,
            max_steps=self.max_steps,
            batch_size=min(self.batch_size, len(rows)),
            learning_rate=self.learning_rate,
            patience=self.patience,
            validation=self.validation_fraction,
        )
        seed = int(random.randint(LARGEST_SEED))
        return fit_flow(rows, settings, self.noise, seed, context, weight, bool(self.verbose))


def check_weight(sample_weight: Any, x: np.ndarray) -> np.ndarray | None:
    """Return the weights (N,) of the rows, or None for equal ones.

    Raises:
        ValueError: if the shape does not fit, one is negative, or all are 0.
    """
    if sample_weight is None:
        return None
    weight: np.ndarray = check_array(
        sample_weight, dtype=np.float64, ensure_2d=False, input_name="sample_weight"
    )
    if weight.ndim != 1:
        raise ValueError(f"fit: sample_weight must have the shape ({len(x)},)")
    check_consistent_length(x, weight)
    if (weight < 0).any() or not weight.any():
        raise ValueError("fit: sample_weight is negative, or zero for all rows")
    return weight


def random_of(state: Any) -> np.random.RandomState:
    """Return the generator of a seed, a generator or None."""
    return check_random_state(state)
