"""Objective: the weighted sum of named terms that training minimises."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from innflow.errors import InnflowError
from innflow.latent.density import Density, Latent

Parts = Mapping[str, Tensor]


@dataclass(frozen=True)
class Step:
    """Result of one forward pass of a batch: the input of loss terms.

    Attributes:
        parts: left parts, by name.
        latents: right parts, by name.
        logabsdet: log-determinant of the flow, (B,).
        log_prob: log density of the left in data units, (B,) in nats.
        targets: values of right and context parts that the batch gives: y, or labels.
        latent: density of the right side.
        invert: maps right parts to left parts, with the same context.
        progress: training progress in [0, 1].
        companions: name -> function that returns the log density (B,) in nats of the same left
            parts under this companion; it is computed when it is called.
        outliers: the forward pass of as many items of the general set, where the data have one.
        training: whether the batch is a training batch.

    Example:
        >>> x = torch.zeros(2, 3)
        >>> step = Step({"x": x}, {"z": x}, logabsdet=torch.zeros(2), log_prob=torch.ones(2))
        >>> nll(step)
        tensor(-1.)
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

    @property
    def dims(self) -> int:
        """Number of dimensions of the part x."""
        return self.parts["x"][0].numel()


class Term:
    """Loss term: a function of a `Step` that returns one number, the mean over the batch.

    A function is a term too. A subclass overrides `__call__` and, where they differ, the defaults.

    Attributes:
        per_dim: the objective divides the term by the number of dimensions, as it is in nats.
        needs_general: the term needs the general items, which only training batches have.
        against: name of the companion that the term needs; it is then computed in training only.
        densities: name and class of the density of each part on the right that the term needs.

    Example:
        >>> class LatentNorm(Term):
        ...     def __call__(self, step):
        ...         return step.latents["z"].square().mean()
        >>> Objective({"nll": nll, "norm": LatentNorm()}, {"norm": 0.1})
        Objective(1 nll + 0.1 norm)
    """

    per_dim: bool = True
    needs_general: bool = False
    against: str | None = None
    densities: tuple[tuple[str, type[Density]], ...] = ()
    function: Callable[[Step], Tensor] | None = None

    def __init__(self, function: Callable[[Step], Tensor] | None = None) -> None:
        self.function = function

    def check_right(self, right: Mapping[str, Density]) -> None:
        """Raise if the right side of the partition lacks a density that the term needs."""
        for name, kind in self.densities:
            if not isinstance(right.get(name), kind):
                found = ", ".join(f"{key} ({type(it).__name__})" for key, it in right.items())
                raise InnflowError(
                    f"objective: {type(self).__name__} needs {name} ({kind.__name__}) on the right "
                    f"of the partition, which has {found}; change partition and latent, or take "
                    "objective=nll"
                )

    def check(self, companions: Container[str], general: bool) -> None:
        """Raise if the term needs a companion, or a general set, that the run does not have."""
        if self.needs_general and not general:
            name = type(self).__name__.lower()
            raise InnflowError(f"objective: {name} needs a general set: data.general=DIR")
        if self.against is not None and self.against not in companions:
            raise InnflowError(
                "objective: needs a frozen model of general data: "
                f"companions.{self.against}=DIR, the folder of its run"
            )

    def __call__(self, step: Step) -> Tensor:
        """Return the term, a scalar."""
        if self.function is None:
            raise NotImplementedError(f"{type(self).__name__}: override __call__")
        return self.function(step)


def nll(step: Step) -> Tensor:
    """Return the negative log-likelihood in nats, the mean over the batch."""
    return -step.log_prob.mean()


class Objective(nn.Module):
    """Weighted sum of loss terms; terms in nats are divided by the number of dimensions.

    Learning rates and clipping thresholds then carry over between data sizes. The terms are
    returned unweighted and undivided, and logged under their names.

    Args:
        terms: name -> term or function of a `Step`; `nll` alone by default.
        weights: name -> weight, 1 by default. A term of weight 0 is not computed.

    Raises:
        InnflowError: if a weight has no term or every weight is 0.

    Example:
        >>> step = Step({}, {}, logabsdet=torch.zeros(2), log_prob=torch.tensor([-1.0, -3.0]))
        >>> Objective()(step, dims=4)
        (tensor(0.5000), {'nll': tensor(2.)})
    """

    def __init__(
        self,
        terms: Mapping[str, Callable[[Step], Tensor]] | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.terms = {
            name: term if isinstance(term, Term) else Term(term)
            for name, term in (terms or {"nll": nll}).items()
        }
        self.weights = {name: 1.0 for name in self.terms} | dict(weights or {})
        unknown = sorted(set(self.weights) - set(self.terms))
        if unknown:
            raise InnflowError(
                f"objective: weights for {', '.join(unknown)}, but the terms are "
                f"{', '.join(self.terms)}"
            )
        if not any(self.weights.values()):
            raise InnflowError("objective: every weight is 0: give at least one another weight")

    @property
    def used(self) -> dict[str, Term]:
        """Terms of a weight other than 0, by name."""
        return {name: term for name, term in self.terms.items() if self.weights[name]}

    def forward(self, step: Step, dims: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and every term by name; `dims` is the number of dimensions."""
        values = {
            name: term(step)
            for name, term in self.used.items()
            if step.training or not (term.needs_general or term.against)
        }
        shares = [
            self.weights[name] * value / (dims if self.terms[name].per_dim else 1)
            for name, value in values.items()
        ]
        return torch.stack(shares).sum(), values

    def extra_repr(self) -> str:
        """Show the weighted sum."""
        return " + ".join(f"{self.weights[name]:g} {name}" for name in self.used)
