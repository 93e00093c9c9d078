"""WAIC of an ensemble as an anomaly score."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from innflow.errors import InnflowError
from innflow.score.base import Measured, Score
from innflow.score.ratio import companion, need_companion


@dataclass
class Waic(Score):
    """Minus the WAIC, Var_m[log p_m(x)] - E_m[log p_m(x)], over the model and its companions.

    From Choi et al., arXiv:1810.01392; with the unbiased estimate of the variance.

    Attributes:
        members: names of the companions in the ensemble; all companions if None.

    Example:
        >>> from types import SimpleNamespace
        >>> companions = {"second": np.array([[-3.0]])}
        >>> Waic()(SimpleNamespace(log_prob=np.array([-1.0]), companions=companions))
        array([4.])
    """

    members: Sequence[str] | None = None

    def check(self, companions: Collection[str]) -> None:
        """Raise if a member of the ensemble is missing."""
        for name in self._names(companions):
            need_companion(companions, name, "Waic")

    def __call__(self, items: Measured) -> np.ndarray:
        """Return the variance minus the mean of log p over the ensemble, (N,)."""
        names = self._names(items.companions)
        others = [companion(items, name, "Waic").sum(axis=1) for name in names]
        log_probs = np.stack([items.log_prob, *others]).astype(np.float64)
        return log_probs.var(axis=0, ddof=1) - log_probs.mean(axis=0)

    def _names(self, companions: Collection[str]) -> list[str]:
        names = list(companions if self.members is None else self.members)
        if not names:
            raise InnflowError(
                "score Waic: the application has no companions: use companions.NAME=DIR, the "
                "folder of a finished run, for each member of the ensemble"
            )
        return names
