"""Likelihood ratio of a companion and the model as an anomaly score."""

from collections.abc import Collection, Container
from dataclasses import dataclass

import numpy as np

from innflow.errors import InnflowError
from innflow.score.base import Measured, Score
from innflow.score.scale import contribution


@dataclass
class Ratio(Score):
    """Log likelihood ratio log p_companion(x) - log p(x), in nats.

    Contributions that both models share cancel: with a companion trained on images of all kinds,
    those of common texture (Schirrmeister et al., arXiv:2006.10848); with one trained on corrupted
    inliers, those of the background (Ren et al., arXiv:1906.02845).

    Attributes:
        against: name of the companion.
        scale: scale whose contributions are compared, -1 for the deepest; all if None.

    Example:
        >>> from types import SimpleNamespace
        >>> companions = {"general": np.array([[-2.0]])}
        >>> Ratio("general")(SimpleNamespace(log_prob=np.array([-5.0]), companions=companions))
        array([3.])
    """

    against: str = "general"
    scale: int | None = None

    def check(self, companions: Collection[str]) -> None:
        """Raise if the application does not have the companion."""
        need_companion(companions, self.against, "Ratio")

    def __call__(self, items: Measured) -> np.ndarray:
        """Return log p_companion - log p, of all scales or of one, (N,)."""
        other = companion(items, self.against, "Ratio")
        if self.scale is None:
            return other.sum(axis=1).astype(np.float64) - items.log_prob
        own, others = items.terms.shape[1], other.shape[1]
        if own != others:
            raise InnflowError(
                f"score Ratio: the model has {own} scales, its companion {self.against} has "
                f"{others}: give companions.{self.against}=DIR of a run with the same model"
            )
        name = f"Ratio(scale={self.scale})"
        return contribution(other, self.scale, name) - contribution(items.terms, self.scale, name)


def companion(items: Measured, name: str, score: str) -> np.ndarray:
    """Return the terms (N, L) of log p of the items under a companion; raise if it is missing."""
    need_companion(items.companions, name, score)
    return items.companions[name]


def need_companion(companions: Container[str], name: str, score: str) -> None:
    """Raise unless there is a companion of this name."""
    if name not in companions:
        raise InnflowError(
            f"score {score}: the application has no companion {name}: "
            f"use companions.{name}=DIR, the folder of a finished run"
        )
