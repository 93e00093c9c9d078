"""Two-dimensional projections of latent vectors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import PCA


@dataclass
class Plane:
    """A two-dimensional projection of latent vectors.

    Attributes:
        mean: (D,) its origin.
        axes: (2, D) orthonormal.
        labels: of the axes.
    """

    mean: np.ndarray
    axes: np.ndarray
    labels: tuple[str, str]

    def __call__(self, latent: np.ndarray) -> np.ndarray:
        """Project latent vectors (N, D) to the plane, (N, 2)."""
        blocks = (latent[i : i + 1024] - self.mean for i in range(0, len(latent), 1024))
        return np.concatenate([block @ self.axes.T for block in blocks])


def principal_components(latent: np.ndarray, count: int, seed: int) -> PCA:
    """Fit at most `count` principal components of latent vectors (N, D)."""
    count = min(count, latent.shape[1], len(latent) - 1)
    solver = "randomized" if count < 0.8 * min(latent.shape) else "full"
    return PCA(count, svd_solver=solver, random_state=seed).fit(latent)


def total_variance(latent: np.ndarray) -> float:
    """Return the variance of latent vectors (N, D) summed over the dimensions."""
    return float(np.var(latent, axis=0, ddof=1, dtype=np.float64).sum())


def principal_plane(pca: PCA, variance: float) -> Plane:
    """Return the plane of the first two components; `variance` is that of all dimensions."""
    shares = pca.explained_variance_[:2] / variance
    labels = [f"component {i + 1} ({share:.1%} of variance)" for i, share in enumerate(shares)]
    return Plane(pca.mean_, pca.components_[:2], (labels[0], labels[1]))


def spread_plane(pca: PCA, groups: Sequence[np.ndarray]) -> Plane:
    """Return the plane within principal components that separates groups best.

    Maximises Fisher's criterion, tr((W Sw W')^-1 W Sb W'), between-group over within-group
    scatter, over planes W, with equal weights of the groups. For two groups the criterion
    determines one direction; the second is the orthogonal one of largest scatter.

    Args:
        pca: the space; it must have few components, as any groups separate in many.
        groups: two or more sets of latent vectors, each (N, D).
    """
    reduced = [pca.transform(group) for group in groups]
    means = np.stack([group.mean(axis=0) for group in reduced])
    within = np.mean([np.cov(group.T, bias=True) for group in reduced], axis=0)
    between = np.atleast_2d(np.cov(means.T, bias=True))
    # A ridge makes the scatter of groups smaller than the number of components invertible.
    size = len(within)
    within = within + 1e-3 * np.trace(within) / size * np.eye(size)
    values, vectors = np.linalg.eigh(within)
    whiten = vectors / np.sqrt(values)
    _, directions = np.linalg.eigh(whiten.T @ between @ whiten)
    best = whiten @ directions[:, ::-1][:, : min(2, len(groups) - 1)]
    # The criterion is the same for every basis; an orthonormal one preserves distances.
    axes = np.linalg.qr(best)[0]
    if axes.shape[1] == 1:
        total = within + between
        rest = np.eye(size) - axes @ axes.T
        axes = np.c_[axes, np.linalg.eigh(rest @ total @ rest)[1][:, -1]]
    return Plane(
        pca.mean_, axes.T @ pca.components_, ("direction of best separation", "second direction")
    )


def centre_plane(groups: Sequence[np.ndarray]) -> Plane:
    """Return the plane of largest variance of the centres of groups of latent vectors."""
    centres = np.stack([group.mean(axis=0) for group in groups])
    mean = centres.mean(axis=0)
    axes = np.linalg.svd(centres - mean, full_matrices=False)[2][:2]
    return Plane(mean, axes, ("first direction of the centres", "second direction"))
