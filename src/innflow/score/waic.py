"""An ensemble's doubt as a score."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from innflow.errors import InnflowError
from innflow.score.base import Measured, StatelessScore
from innflow.score.ratio import companion, need_companion


@dataclass
class Waic(StatelessScore):
    """Minus the WAIC, Var_m[log p_m(x)] - E_m[log p_m(x)], over the model and its companions.

    From Choi et al., "WAIC, but Why? Generative Ensembles for Robust Anomaly Detection", 2018.
    The variance is the unbiased one: an ensemble is a small sample of models.

    Attributes:
        members: names of the companions that are of the ensemble; the model itself always is.
            All companions where None.
    """

    members: Sequence[str] | None = None

    def check(self, companions: Collection[str]) -> None:
        """Refuse an application without the ensemble."""
        for name in self._names(companions):
            need_companion(companions, name, "Waic")

    def __call__(self, items: Measured) -> np.ndarray:
        """Return the variance minus the mean of log p over the models, in nats, (N,).

        Raises:
            InnflowError: if a member is missing or there is none.
        """
        log_probs = self._log_probs(items)
        return log_probs.var(axis=0, ddof=1) - log_probs.mean(axis=0)

    def _log_probs(self, items: Measured) -> np.ndarray:
        names = self._names(items.companions)
        others = [companion(items, name, "Waic").sum(axis=1) for name in names]
        return np.stack([items.log_prob, *others]).astype(np.float64)

    def _names(self, companions: Collection[str]) -> list[str]:
        names = list(companions if self.members is None else self.members)
        if not names:
            raise InnflowError(
                "score Waic: the application has no companions: takes companions.NAME=DIR, the "
                "folder of a finished run, for each member of the ensemble"
            )
        return names
