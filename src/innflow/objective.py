"""Objective: what training minimises, a weighted sum of named terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from innflow.errors import InnflowError


@dataclass(frozen=True)
class Step:
    """Everything that one pass from left to right has computed.

    Attributes:
        parts: left parts, by name.
        latents: right parts, by name.
        logabsdet: log-determinant of the flow, (B,).
        log_prob: log density of the left in data units, (B,) nats.
    """

    parts: Mapping[str, Tensor]
    latents: Mapping[str, Tensor]
    logabsdet: Tensor
    log_prob: Tensor


Term = Callable[[Step], Tensor]
"""A loss term: one number in nats per item, averaged over the batch."""


def nll(step: Step) -> Tensor:
    """Return the negative log-likelihood, the mean over the batch in nats."""
    return -step.log_prob.mean()


class Objective(nn.Module):
    """A weighted sum of terms, divided by the number of dimensions.

    Per dimension, learning rates and clipping thresholds carry over between sizes of data. The
    terms themselves are returned unweighted and in nats, to be logged under their names.

    Args:
        terms: name -> term; `nll` alone by default.
        weights: name -> weight; 1 where none is given.
    """

    def __init__(
        self,
        terms: Mapping[str, Term] | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.terms = dict(terms or {"nll": nll})
        self.weights = {name: 1.0 for name in self.terms} | dict(weights or {})
        unknown = sorted(set(self.weights) - set(self.terms))
        if unknown:
            raise InnflowError(
                f"objective: weights for {', '.join(unknown)}, but the terms are "
                f"{', '.join(self.terms)}"
            )

    def forward(self, step: Step, dims: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss in nats per dimension and every term by name."""
        values = {name: term(step) for name, term in self.terms.items()}
        total = torch.stack([self.weights[name] * value for name, value in values.items()]).sum()
        return total / dims, values

    def extra_repr(self) -> str:
        """Show the weighted sum."""
        return " + ".join(f"{self.weights[name]:g} {name}" for name in self.terms)
