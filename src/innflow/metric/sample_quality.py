"""Distances between sets of images from features of a pretrained network."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import eigvalsh
from scipy.spatial.distance import cdist
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from innflow.errors import InnflowError


def _check(*sets: ArrayLike, least: int = 2) -> list[np.ndarray]:
    found = [np.asarray(each, dtype=np.float64) for each in sets]
    for each in found:
        if each.ndim != 2 or len(each) < least:
            raise InnflowError(
                f"sample quality: features have shape {each.shape}; they must be (N, D) with N of "
                f"at least {least}"
            )
        if not np.isfinite(each).all():
            raise InnflowError("sample quality: features are not finite")
    return found


def kernel_distance(x: ArrayLike, y: ArrayLike) -> float:
    """Estimate the squared MMD of two sets of features without bias (KID).

    The kernel is (x y / D + 1)^3 (Binkowski et al., arXiv:1801.01401, equation 4). The estimate may
    be negative for equal distributions.

        >>> kernel_distance(np.zeros((3, 2)), np.ones((3, 2)))
        7.0

    Args:
        x: (N, D) features.
        y: (M, D) features.

    Raises:
        InnflowError: if a set has fewer than two items or a value is not finite.
    """
    a, b = _check(x, y)

    def kernel(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.asarray((u @ v.T / u.shape[1] + 1) ** 3)

    def within(u: np.ndarray) -> float:
        values = kernel(u, u)
        return float((values.sum() - values.trace()) / (len(u) * (len(u) - 1)))

    return within(a) + within(b) - 2 * float(kernel(a, b).mean())


def frechet_distance(x: ArrayLike, y: ArrayLike) -> float:
    """Return the Frechet distance of normal distributions fitted to two sets of features (FID).

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Heusel et al., arXiv:1706.08500). It is biased
    upwards for fewer items than some times D: compare it only at equal numbers.

        >>> frechet_distance([[0.0], [2.0]], [[1.0], [3.0]])
        1.0

    Args:
        x: (N, D) features.
        y: (M, D) features.

    Raises:
        InnflowError: if a set has fewer than two items or a value is not finite.
    """
    a, b = _check(x, y)
    first, second = (np.atleast_2d(np.cov(each, rowvar=False)) for each in (a, b))
    # The roots of C1 C2 and of R C2 R' have the same trace for any factor R' R = C1.
    factor: np.ndarray = np.linalg.qr((a - a.mean(axis=0)) / np.sqrt(len(a) - 1)).R
    common = np.sqrt(eigvalsh(factor @ second @ factor.T).clip(min=0)).sum()
    shift = np.square(a.mean(axis=0) - b.mean(axis=0)).sum()
    return float(shift + first.trace() + second.trace() - 2 * common)


def precision_recall(x: ArrayLike, y: ArrayLike, neighbours: int = 3) -> tuple[float, float]:
    """Return which share of samples lies among real items, and of real items among samples.

    An item lies among a set if it is no farther from one of its items than that item's k-th nearest
    neighbour in the set (Kynkaanniemi et al., arXiv:1904.06991).

        >>> precision_recall([[0.0], [0.1], [9.0]], [[0.0], [0.2], [0.3]], neighbours=1)
        (0.6666666666666666, 1.0)

    Args:
        x: (N, D) features of samples.
        y: (M, D) features of real items.
        neighbours: k.

    Raises:
        InnflowError: if a set has no more than k items or a value is not finite.
    """
    a, b = _check(x, y, least=neighbours + 1)
    return _share_among(a, b, neighbours), _share_among(b, a, neighbours)


def _share_among(items: np.ndarray, reference: np.ndarray, neighbours: int) -> float:
    search = NearestNeighbors(n_neighbors=neighbours).fit(reference)
    radius = search.kneighbors()[0][:, -1]  # without arguments, an item is no neighbour of its own
    inside = np.zeros(len(items), dtype=bool)
    for start in range(0, len(items), 256):
        distance = cdist(items[start : start + 256], reference)
        inside[start : start + 256] = (distance <= radius * (1 + 1e-9)).any(axis=1)
    return float(inside.mean())


class LinearProbe:
    """A logistic regression of inliers against other images on standardised features.

        >>> rng = np.random.default_rng(0)
        >>> probe = LinearProbe(rng.normal(0, 1, (50, 2)), rng.normal(9, 1, (50, 2)))
        >>> probe.share([[0.0, 0.0], [9.0, 9.0]])
        0.5

    Args:
        inliers: (N, D) features.
        others: (M, D) features.

    Raises:
        InnflowError: if a set has fewer than two items or a value is not finite.
    """

    def __init__(self, inliers: ArrayLike, others: ArrayLike) -> None:
        a, b = _check(inliers, others)
        model = LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000)
        labels = np.repeat([1, 0], [len(a), len(b)])
        self._model = make_pipeline(StandardScaler(), model).fit(np.concatenate([a, b]), labels)

    def share(self, items: ArrayLike) -> float:
        """Return the share of items (N, D) that are classified as inliers."""
        return float(self._model.predict(np.asarray(items, dtype=np.float64)).mean())
