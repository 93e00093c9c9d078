"""Loss terms that tell the inliers from a more general set of data.

The general set stands beside the inliers in every training batch (`data.general`), and must hold
nothing of what is tested on, which the data module checks.
"""

from __future__ import annotations

from collections.abc import Container
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import one_hot, softplus

from innflow.errors import InnflowError
from innflow.latent.mixture import ClassMixture
from innflow.objective.base import Objective, Step, Term, nll

# Schirrmeister et al., arXiv:2006.10848, take lambda = 6000 and T = 1000 nats for 3,072 dimensions.
WEIGHT = 6000 / 3072
TEMPERATURE = 1000 / 3072


class CompanionRatioLoss:
    """What losses on the ratio r of the flow to a frozen general model share: softplus(r / T).

    Args:
        temperature: T in nats per dimension.
        against: name of the companion.
    """

    per_dim = False
    needs_general = True

    def __init__(self, temperature: float = TEMPERATURE, against: str = "general") -> None:
        if not temperature > 0:
            raise InnflowError(f"objective: temperature={temperature}: takes a number above 0")
        self.temperature = temperature
        self.against = against

    def penalty(self, log_prob: Tensor, step: Step) -> Tensor:
        """Return softplus(r / T) of log p (B,) or (B, C) of the left of a step."""
        _need_companion(self.against, step.companions)
        general = step.companions[self.against]()
        ratio = log_prob - general.reshape(-1, *(1,) * (log_prob.dim() - 1))
        return softplus(ratio / (_dims(step) * self.temperature))


class Outlier(CompanionRatioLoss):
    """How much more likely the flow finds general data than a general model does: softplus(r / T).

    r is log p(x) - log p_general(x) in nats per dimension, over general data x. The general model
    is a companion, frozen, and sees the very same noise. The "class" loss of Schirrmeister et al.,
    arXiv:2006.10848, with its temperature scaled to the number of dimensions.
    """

    def check(self, companions: Container[str], general: bool) -> None:
        """Refuse a run that lacks what the term needs."""
        _need_general("outlier", general)
        _need_companion(self.against, companions)

    def __call__(self, step: Step) -> Tensor:
        """Return the mean over the general items of the batch."""
        outliers = _outliers(step, "outlier")
        return self.penalty(outliers.log_prob, outliers).mean()


class OtherClasses(CompanionRatioLoss):
    """The same for the inliers under every class but their own: softplus(r / T) over wrong classes.

    With labels, a class is to find the items of the others no likelier than the general model does
    (the full-label loss of Schirrmeister et al., arXiv:2006.10848).
    """

    def check(self, companions: Container[str], general: bool) -> None:
        """Refuse a run that lacks what the term needs."""
        _need_companion(self.against, companions)

    def __call__(self, step: Step) -> Tensor:
        """Return the mean over items and classes, the right ones counted as 0."""
        mixture = step.latent["y"] if step.latent is not None and "y" in step.latents else None
        if not isinstance(mixture, ClassMixture) or "y" not in step.targets:
            raise InnflowError("objective: other_classes needs app=classification and labels")
        y = step.latents["y"]
        rest = step.log_prob - mixture.log_prob(y)
        penalty = self.penalty(rest[:, None] + mixture.class_log_prob(y), step)
        wrong = 1 - one_hot(step.targets["y"], mixture.classes).to(penalty.dtype)
        return (wrong * penalty).mean()


class Margin:
    """By how much general data fall short of being a margin less likely than the inliers beside.

    relu(margin D + nll(inlier) - nll(general)), pair by pair; the inliers are only compared with
    (the margin loss of Schirrmeister et al., arXiv:2006.10848).

    Args:
        margin: in nats per dimension; 1 is 1.44 bits per dimension.
    """

    needs_general = True

    def __init__(self, margin: float = 1.0) -> None:
        if not margin > 0:
            raise InnflowError(f"objective: margin={margin}: takes a number above 0")
        self.margin = margin

    def check(self, companions: Container[str], general: bool) -> None:
        """Refuse a run that lacks what the term needs."""
        _need_general("margin", general)

    def __call__(self, step: Step) -> Tensor:
        """Return the mean over the batch, in nats."""
        general = _outliers(step, "margin").log_prob
        gap = self.margin * _dims(step) - step.log_prob.detach() + general
        return gap.relu().mean()


class Negative:
    """The likelihood of general data as long as it is above a floor, to be driven down to it.

    From Kirichenko et al., arXiv:2006.08545, appendix B: one such term for the negatives and one
    nll for the inliers.

    Args:
        floor: log p in nats per dimension under which an item no longer counts. The paper takes
            -100,000 nats for images of 3,072 dimensions.
    """

    needs_general = True

    def __init__(self, floor: float = -100_000 / 3072) -> None:
        self.floor = floor

    def check(self, companions: Container[str], general: bool) -> None:
        """Refuse a run that lacks what the term needs."""
        _need_general("negative", general)

    def __call__(self, step: Step) -> Tensor:
        """Return the mean over the general items above the floor, in nats; 0 if there are none."""
        log_prob = _outliers(step, "negative").log_prob
        above = log_prob > self.floor * _dims(step)
        return torch.where(above, log_prob, 0.0).sum() / above.sum().clamp(min=1)


def outlier_exposure(
    weight: float = WEIGHT,
    temperature: float = TEMPERATURE,
    against: str = "general",
    other_classes: float = 0.0,
) -> Objective:
    """Return nll per dimension + weight * `Outlier` + other_classes * `OtherClasses`.

    Args:
        weight: of the outlier loss.
        temperature: in nats per dimension.
        against: name of the companion.
        other_classes: weight of the same loss over the wrong classes of labelled inliers.
    """
    terms: dict[str, Term] = {
        "nll": nll,
        "outlier": Outlier(temperature, against),
        "other_classes": OtherClasses(temperature, against),
    }
    return Objective(terms, {"nll": 1.0, "outlier": weight, "other_classes": other_classes})


def margin(weight: float = 1.0, margin: float = 1.0) -> Objective:
    """Return nll + weight * `Margin`, both per dimension."""
    terms: dict[str, Term] = {"nll": nll, "margin": Margin(margin)}
    return Objective(terms, {"nll": 1.0, "margin": weight})


def negative(weight: float = 1.0, floor: float = -100_000 / 3072) -> Objective:
    """Return nll / 2 + weight * `Negative` / 2, both per dimension."""
    terms: dict[str, Term] = {"nll": nll, "negative": Negative(floor)}
    return Objective(terms, {"nll": 0.5, "negative": weight / 2})


def _need_general(term: str, general: bool) -> None:
    if not general:
        raise InnflowError(
            f"objective: {term} needs a general set beside the inliers: data.general=DIR"
        )


def _need_companion(name: str, companions: Container[str]) -> None:
    if name not in companions:
        raise InnflowError(
            f"objective: compares with a frozen general model: companions.{name}=DIR"
        )


def _outliers(step: Step, term: str) -> Step:
    _need_general(term, step.outliers is not None)
    return cast(Step, step.outliers)


def _dims(step: Step) -> int:
    return step.parts["x"][0].numel()
