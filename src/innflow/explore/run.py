"""What the pages show of a trained run: the application, test items and directions of latents."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from innflow.analysis.data import build_data, trusted_data
from innflow.analysis.posterior.local_calibration import FILE, read_simulations
from innflow.analysis.study import to_pixels
from innflow.app import Application, Generation, Inverse, Unconditional
from innflow.app.preprocess import Dequantization
from innflow.errors import InnflowError
from innflow.latent import PrincipalNormal
from innflow.run.features import restore_coordinates

MOST_ITEMS = 2000
"""Test items that are kept, and of whose latents principal components are computed."""
COMPONENTS = 6
"""Largest number of principal components that can be moved along."""


@dataclass(frozen=True)
class Run:
    """A loaded run.

    Attributes:
        app: in evaluation mode.
        path: of the folder or file that it was loaded from, or `pretrained:NAME`.
        trust: whether code that the run names may be imported.

    Example:
        >>> from innflow import flow
        >>> Run(Unconditional(flow.vector(2, depth=2, hidden=(8,))), "outputs/moons").is_vectors
        True
    """

    app: Application
    path: str
    trust: bool = False

    @property
    def is_images(self) -> bool:
        """Whether x are images of grey levels."""
        app = self.app
        return isinstance(app, Unconditional) and isinstance(app.preprocessing, Dequantization)

    @property
    def is_vectors(self) -> bool:
        """Whether x are vectors."""
        return len(self.app.shape) == 1

    @cached_property
    def test_items(self) -> Tensor:
        """The first items x of the test set, at most 2,000.

        Raises:
            InnflowError: if the data of the run cannot be read.
        """
        if "data" not in self.app.config:
            raise InnflowError(f"run={self.path}: has no data, choose a sample instead")
        data = build_data(trusted_data(self.app.config["data"], self.app, self.path, self.trust))
        data.use_columns(self.app.columns)
        restore_coordinates(data, Path(self.path))
        items = data.sets()["test"]
        return items.__getitems__(range(min(MOST_ITEMS, len(items))))["x"]

    @cached_property
    def principal(self) -> PrincipalNormal:
        """The normal distribution fitted to latents of training images, else of test items."""
        assert isinstance(self.app, Unconditional)
        if isinstance(self.app, Generation) and self.app.fitted_latents is not None:
            return self.app.fitted_latents
        latents = self.app.encode(self.test_items).cpu().numpy()
        return PrincipalNormal.fit(latents, COMPONENTS)

    @cached_property
    def simulations(self) -> dict[str, np.ndarray] | None:
        """Parameters x and data y of test simulations in the run folder; None without any."""
        assert isinstance(self.app, Inverse)
        if not (Path(self.path) / FILE).is_file():
            return None
        held = read_simulations(self.app, Path(self.path))
        return {name: values.numpy() for name, values in held.items()}

    def to_pictures(self, images: np.ndarray) -> np.ndarray:
        """Return images of grey levels, stretched to 8 bits, as they are shown.

        Raises:
            InnflowError: if a value is not finite.
        """
        assert isinstance(self.app, Unconditional)
        most = self.app.preprocessing.levels - 1
        return to_pixels(images if most == 255 else images * (255 / most))
