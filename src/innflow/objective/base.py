"""Objective: what training minimises, a weighted sum of named terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from innflow.errors import InnflowError
from innflow.latent.density import Latent

Parts = Mapping[str, Tensor]


@dataclass(frozen=True)
class Step:
    """Everything that one pass from left to right has computed, and the way back.

    Attributes:
        parts: left parts, by name.
        latents: right parts, by name.
        logabsdet: log-determinant of the flow, (B,).
        log_prob: log density of the left in data units, (B,) nats.
        targets: what is known of the right and of the context, by name: y, or labels.
        latent: the densities of the right parts.
        invert: maps right parts to left parts, with the same context.
        progress: of the training, in [0, 1].
        companions: gives the log density of the same left by a companion of the application, (B,)
            nats; it is only computed where a term asks.
        outliers: the same pass over as many items of a general set, where the data have one.
        training: whether the batch is one to learn from.
    """

    parts: Parts
    latents: Parts
    logabsdet: Tensor
    log_prob: Tensor
    targets: Parts = field(default_factory=dict)
    latent: Latent | None = None
    invert: Callable[[Parts], Parts] | None = None
    progress: float = 1.0
    companions: Mapping[str, Callable[[], Tensor]] = field(default_factory=dict)
    outliers: Step | None = None
    training: bool = True


Term = Callable[[Step], Tensor]
"""A loss term: one number, averaged over the batch.

A term in nats grows with the number of dimensions, and the objective divides it by that; one
whose attribute `per_dim` is false does not. One whose attribute `needs_general` is true looks at
the general items of training batches, and is left out where there are none: in validation.
"""


def nll(step: Step) -> Tensor:
    """Return the negative log-likelihood, the mean over the batch in nats."""
    return -step.log_prob.mean()


class Objective(nn.Module):
    """A weighted sum of terms, likelihoods divided by the number of dimensions.

    Per dimension, learning rates and clipping thresholds carry over between sizes of data. The
    terms themselves are returned unweighted and whole, to be logged under their names.

    Args:
        terms: name -> term; `nll` alone by default.
        weights: name -> weight; 1 where none is given. A term of weight 0 is not computed.
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
        if not any(self.weights.values()):
            raise InnflowError("objective: every weight is 0, there is nothing to minimise")

    def forward(self, step: Step, dims: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and every term by name."""
        values = {
            name: term(step)
            for name, term in self.terms.items()
            if self.weights[name] and (step.training or not getattr(term, "needs_general", False))
        }
        shares = [
            self.weights[name] * value / (dims if getattr(self.terms[name], "per_dim", True) else 1)
            for name, value in values.items()
        ]
        return torch.stack(shares).sum(), values

    def extra_repr(self) -> str:
        """Show the weighted sum."""
        used = [name for name in self.terms if self.weights[name]]
        return " + ".join(f"{self.weights[name]:g} {name}" for name in used)
