"""A generative classifier as an analysis sees it."""

from __future__ import annotations

from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor

from innflow.analysis.study import BATCH, Application, Study
from innflow.errors import InnflowError


class Mixture(Protocol):
    """The densities of the classes: a normal each."""

    log_scales: Tensor

    @property
    def log_prior(self) -> Tensor:
        """Log p(class), (C,)."""


class Classifier(Application, Protocol):
    """A trained flow with a density for each class."""

    @property
    def classes(self) -> list[str]:
        """Names of the classes, by label."""

    @property
    def mixture(self) -> Mixture:
        """The densities of the class part."""

    def class_log_prob(self, x: Tensor, noise_seed: int | None = None) -> Tensor:
        """Return log p(x | class), (B, C) in nats."""

    def classify(self, x: Tensor) -> Tensor:
        """Return p(class | x), (B, C)."""

    def class_means(self) -> Tensor:
        """Return what the mean of each class decodes to, (C, *shape)."""

    def counterfactual(self, x: Tensor, label: Tensor, target: Tensor) -> Tensor:
        """Return x as it would be in another class."""

    def sample(
        self,
        n: int,
        temperature: float = 1.0,
        seed: int | None = None,
        label: int | Tensor | None = None,
    ) -> Tensor:
        """Draw n items in data units, of one class or of classes drawn from the prior."""


def require_classifier(study: Study, analysis: str) -> Classifier:
    """Return the application, and refuse one without classes or data without labels."""
    if not hasattr(study.app, "class_log_prob") or "label" not in study.sets["test"].parts:
        raise InnflowError(
            f"analysis {analysis}: needs app=classification and data with labels: leave it out of "
            "the analysis group"
        )
    return cast(Classifier, study.app)


def labels_of(study: Study, name: str) -> np.ndarray:
    """Return the labels (N,) of the items of a set that `measure` looks at."""
    return study.sets[name].parts["label"].numpy()[study.index(name)]


def draw_class(study: Study, label: int, n: int, temperature: float = 1.0) -> np.ndarray:
    """Draw n items of a class with the study's seed, in data units."""
    app = require_classifier(study, "draws of a class")
    seed = study.seed + 1_000_000 * (label + 1)
    drawn = [
        app.sample(min(BATCH, n - start), temperature, seed=seed + start, label=label)
        for start in range(0, n, BATCH)
    ]
    return torch.cat(drawn).cpu().numpy()
