"""Normal distribution fitted to the latents of a trained flow, to draw images with structure."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from innflow.errors import InnflowError
from innflow.system.file.atomic import write_arrays
from innflow.system.file.npz import DAMAGE, read_arrays

DETAIL = 0.2
"""Standard deviation outside of the principal components; chosen in experiments/cats_samples."""
ENTRIES = ("mean", "axes", "deviations")


@dataclass(frozen=True)
class PrincipalNormal:
    """Normal distribution with the mean and the principal components of latents.

    The latents of images under a trained flow are not standard normal: a few hundred directions,
    which hold the composition of the image, have variances of 2 to 14, the others less than 1.
    Draws from the standard normal miss the composition. Here the principal components have their
    own standard deviations and all other directions a smaller one, so draws show the composition
    of training images with less noise. They are not draws from the density of the flow.

    Attributes:
        mean: (N,) mean of the latents.
        axes: (K, N) principal components, orthonormal.
        deviations: (K,) standard deviations along them.

    Example:
        >>> fitted = PrincipalNormal(torch.zeros(3), torch.eye(3)[:1], torch.tensor([2.0]))
        >>> fitted.transform(torch.ones(1, 3))
        tensor([[2.0000, 0.2000, 0.2000]])
    """

    mean: Tensor
    axes: Tensor
    deviations: Tensor

    @classmethod
    def fit(cls, latents: np.ndarray, components: int, seed: int = 0) -> "PrincipalNormal":
        """Fit latents (M, N); at most a quarter as many components as there are items."""
        from sklearn.decomposition import PCA  # takes a second, and loading a run needs none

        count = max(1, min(components, latents.shape[1] - 1, len(latents) // 4))
        pca = PCA(count, svd_solver="randomized", random_state=seed).fit(latents)
        found = (pca.mean_, pca.components_, np.sqrt(pca.explained_variance_))
        return cls(*(torch.from_numpy(np.asarray(each, dtype=np.float32)) for each in found))

    def transform(self, noise: Tensor, detail: float = DETAIL) -> Tensor:
        """Return draws (B, N) for standard normal noise (B, N), or noise of any temperature.

        Args:
            noise: (B, N).
            detail: standard deviation outside of the principal components.
        """
        axes = self.axes.to(noise)
        along = noise @ axes.T
        outside = noise - along @ axes
        wide = (along * self.deviations.to(noise)) @ axes
        return self.mean.to(noise) + wide + detail * outside

    def save(self, path: Path) -> None:
        """Write the distribution to an .npz file."""
        write_arrays(path, {name: getattr(self, name).cpu().numpy() for name in ENTRIES})

    @classmethod
    def load(cls, path: str | os.PathLike[str], features: int) -> "PrincipalNormal":
        """Read a file of `save` for latents of N = `features`.

        Raises:
            InnflowError: if the file is damaged or of other latents.
        """
        try:
            found = read_arrays(path, ENTRIES)
        except DAMAGE as error:
            raise InnflowError(f"{path}: damaged ({type(error).__name__}: {error})") from None
        count = len(np.atleast_1d(found["deviations"]))
        shapes = {"mean": (features,), "axes": (count, features), "deviations": (count,)}
        for name, shape in shapes.items():
            value = found[name]
            if value.shape != shape or value.dtype != np.float32 or not np.isfinite(value).all():
                raise InnflowError(
                    f"{path}: {name} has type {value.dtype} and shape {value.shape}; expected "
                    f"finite float32 {shape}: damaged, or of another run"
                )
        return cls(*(torch.from_numpy(found[name]) for name in ENTRIES))
