"""The likelihood ratio against another model as a score."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import numpy as np

from innflow.errors import InnflowError
from innflow.score.base import Measured, StatelessScore
from innflow.score.scale import contribution


@dataclass
class Ratio(StatelessScore):
    """How much likelier another model finds an item: log p_other(x) - log p(x), in nats.

    What both models find likely cancels. Against a model of all kinds of images that is the
    texture that images share (Schirrmeister et al., 2020); against one that was trained on
    corrupted inliers, their background (Ren et al., "Likelihood Ratios for Out-of-Distribution
    Detection", 2019).

    Attributes:
        against: name of the other model among the companions of the application.
        scale: compare the contributions of this scale alone, -1 for the deepest; all where None.
    """

    against: str = "general"
    scale: int | None = None

    def check(self, companions: Container[str]) -> None:
        """Refuse an application without the other model."""
        need_companion(companions, self.against, "Ratio")

    def __call__(self, items: Measured) -> np.ndarray:
        """Return log p_other - log p, whole or of one scale, (N,).

        Raises:
            InnflowError: if the application has no such companion, or if their scales differ.
        """
        other = companion(items, self.against, "Ratio")
        if self.scale is None:
            return other.sum(axis=1).astype(np.float64) - items.log_prob
        own, others = items.terms.shape[1], other.shape[1]
        if own != others:
            raise InnflowError(
                f"score Ratio: the model has {own} scales, its companion {self.against} has "
                f"{others}: takes companions.{self.against}=DIR of a run with the same model"
            )
        who = f"Ratio(scale={self.scale})"
        return contribution(other, self.scale, who) - contribution(items.terms, self.scale, who)


def companion(items: Measured, name: str, who: str) -> np.ndarray:
    """Return the terms (N, L) of log p of a companion for the items.

    Raises:
        InnflowError: naming the key that gives an application the companion.
    """
    need_companion(items.companions, name, who)
    return items.companions[name]


def need_companion(companions: Container[str], name: str, who: str) -> None:
    """Raise unless there is a companion of this name."""
    if name not in companions:
        raise InnflowError(
            f"score {who}: the application has no companion {name}: "
            f"takes companions.{name}=DIR, the folder of a finished run"
        )
