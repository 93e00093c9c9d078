"""Probabilities of models given data, by a classifier of their simulations."""

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier

from innflow.errors import InnflowError
from innflow.metric.class_calibration import compute_classification, fit_temperature

FOLDS, FEWEST = 5, 20
LEAST = 1e-12
"""Smallest probability, whose logarithm is finite."""


def classify_models(
    simulated: Sequence[ArrayLike], y: ArrayLike, seed: int = 0
) -> tuple[np.ndarray, float]:
    """Return the probabilities of K equally likely models given data, and their calibration error.

    A classifier of simulated data estimates p(model | y), without a likelihood (Radev et al.,
    "Amortized Bayesian model comparison with evidential deep learning", arXiv:2004.10629, use
    another loss). Five networks are trained on four fifths of the simulations each, and their mean
    log probabilities scaled by a temperature; it is fitted to the fifths that each was not trained
    on, of which the expected calibration error is.

        >>> rng = np.random.default_rng(0)
        >>> one, other = rng.normal(0, 1, (300, 1)), rng.normal(4, 1, (300, 1))
        >>> probabilities, ece = classify_models([one, other], [[0.0], [4.0]])
        >>> probabilities.argmax(axis=1), ece < 0.1
        (array([0, 1]), True)

    Args:
        simulated: data (N, M) of each model; as many of each are used as the smallest set has.
        y: observations (B, M).
        seed: of the networks and of the folds.

    Returns:
        Probabilities (B, K), and the expected calibration error.

    Raises:
        InnflowError: if there are fewer than two models or 20 simulations, or columns differ.
    """
    sets, observed = [np.asarray(one, np.float64) for one in simulated], np.asarray(y, np.float64)
    count = min((len(one) for one in sets), default=0)
    if len(sets) < 2 or count < FEWEST or len({one.shape[1] for one in (*sets, observed)}) > 1:
        shapes = ", ".join(str(one.shape) for one in (*sets, observed))
        raise InnflowError(
            f"model probabilities: need two models or more with {FEWEST} simulations or more and "
            f"equal columns, got {shapes}"
        )
    rows = np.concatenate([one[:count] for one in sets])
    labels = np.repeat(np.arange(len(sets)), count)
    centre, spread = rows.mean(axis=0), rows.std(axis=0)
    rows, observed = (
        (part - centre) / np.where(spread > 0, spread, 1) for part in (rows, observed)
    )
    held_out = np.zeros((len(rows), len(sets)))
    found = np.zeros((len(observed), len(sets)))
    for train, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(rows, labels):
        network = MLPClassifier((64, 64), alpha=0.1, batch_size=32, max_iter=30, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # 30 epochs are meant
            network.fit(rows[train], labels[train])
        held_out[test] = np.log(network.predict_proba(rows[test]).clip(LEAST))
        found += np.log(network.predict_proba(observed).clip(LEAST)) / FOLDS
    temperature = fit_temperature(held_out, labels)
    calibrated = softmax(held_out / temperature, axis=1)
    return softmax(found / temperature, axis=1), compute_classification(calibrated, labels)["ece"]
