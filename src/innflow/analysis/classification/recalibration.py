"""Recalibration of a generative classifier by wider classes and by averaging over noise.

For a flow whose class part y has one normal distribution per class,

    log p(x | c) + log p(c) = q_c + o_c + a term that is the same for all classes,
    q_c = -|(y - mean_c) / sigma_c|^2 / 2,    o_c = log p(c) - sum_i log sigma_ci.

A factor s on every width gives q_c / s^2 + o_c: the change of the log volumes, -N log s, is the
same for all classes and cancels in Bayes' rule. A temperature T also divides o_c, that is, it
flattens the class prior and the differences in volume; both agree, with T = s^2, for classes of
equal volume and equal prior. The recalibrated classifier is still a density: the same flow with
other widths.
"""

import math

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp

from innflow.metric.class_calibration import BINS

WIDEST = 100.0
"""Limit of the factor, which is searched between 1 / WIDEST and WIDEST."""


def class_probabilities(logits: np.ndarray, offsets: np.ndarray, factor: float) -> np.ndarray:
    """Return p(class | x) (N, C) with wider classes, averaged over draws of the noise.

    Args:
        logits: log p(x | class) + log p(class) of K draws of the noise, (K, N, C).
        offsets: o_c, (C,).
        factor: on every class width.
    """
    return np.exp(_log_probabilities(logits, offsets, factor))


def fit_width(logits: np.ndarray, offsets: np.ndarray, labels: np.ndarray) -> float:
    """Return the most probable factor on the class widths given labels (N,).

    The log loss is combined with a log-normal prior around 1 whose standard deviation is a factor
    of 2: if all N items are classified correctly, the loss alone has its minimum at width zero.
    `logits` and `offsets` as for `class_probabilities`.
    """

    def cost(log_factor: float) -> float:
        prior = 0.5 * (log_factor / math.log(2)) ** 2
        return log_loss(logits, offsets, math.exp(log_factor), labels) + prior / len(labels)

    bound = math.log(WIDEST)
    return math.exp(minimize_scalar(cost, bounds=(-bound, bound), method="bounded").x)


def log_loss(logits: np.ndarray, offsets: np.ndarray, factor: float, labels: np.ndarray) -> float:
    """Return the mean of -log p(class | x) of the true classes, in nats per item."""
    rows = _log_probabilities(logits, offsets, factor)
    return -float(rows[np.arange(len(labels)), labels].mean())


def calibration_floor(probabilities: np.ndarray, seed: int, repeats: int = 200) -> float:
    """Return the mean calibration error (ECE) of p (N, C) over labels drawn from p itself."""
    confidence = probabilities.max(axis=1)
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(repeats):
        excess = (rng.random(len(confidence)) < confidence) - confidence
        found.append(np.abs(np.bincount(place, excess, BINS)).sum() / len(confidence))
    return float(np.mean(found))


def _log_probabilities(logits: np.ndarray, offsets: np.ndarray, factor: float) -> np.ndarray:
    scaled = offsets + (np.asarray(logits, np.float64) - offsets) / factor**2
    rows = log_softmax(scaled, axis=-1)
    return logsumexp(rows, axis=0) - math.log(len(rows))
