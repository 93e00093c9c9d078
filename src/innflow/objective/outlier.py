"""Loss terms on a general set: outlier exposure, margin and negative training.

The items of the general set come with the inliers in every training batch (`data.general`). The
data module checks that the general set and the test sets are disjoint.
"""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import one_hot, softplus

from innflow.errors import InnflowError, positive
from innflow.latent.mixture import ClassMixture
from innflow.objective.base import Objective, Step, Term, nll

# Schirrmeister et al., arXiv:2006.10848, take lambda = 6000 and T = 1000 nats for 3,072 dimensions.
WEIGHT = 6000 / 3072
TEMPERATURE = 1000 / 3072


class CompanionRatioLoss(Term):
    """Base class of losses softplus(r / T) on the ratio r = log p(x) - log p_companion(x).

    r is in nats per dimension; the companion is a frozen model of general data, evaluated on the
    same left parts, noise included.

    Args:
        temperature: T in nats per dimension.
        against: name of the companion.

    Example:
        >>> x, companion = torch.zeros(2, 4), {"general": lambda: torch.tensor([-3.0, -3.0])}
        >>> step = Step({"x": x}, {}, torch.zeros(2), torch.zeros(2), companions=companion)
        >>> CompanionRatioLoss(temperature=1.0).penalty(torch.tensor([-3.0, 5.0]), step)
        tensor([0.6931, 2.1269])
    """

    per_dim = False
    against: str

    def __init__(self, temperature: float = TEMPERATURE, against: str = "general") -> None:
        self.temperature = positive("objective: temperature", temperature)
        self.against = against

    def penalty(self, log_prob: Tensor, step: Step) -> Tensor:
        """Return softplus(r / T) of log p (B,) or (B, C) in nats of the left parts of a step."""
        self.check(step.companions, True)
        general = step.companions[self.against]()
        ratio = log_prob - general.reshape(-1, *(1,) * (log_prob.dim() - 1))
        return softplus(ratio / (step.dims * self.temperature))


class Outlier(CompanionRatioLoss):
    """Mean of softplus(r / T) over the items of the general set.

    The loss of Schirrmeister et al., arXiv:2006.10848, without labels, its temperature scaled to
    the number of dimensions.

    Example:
        >>> Objective({"nll": nll, "outlier": Outlier(against="general")}, {"outlier": 2.0})
        Objective(1 nll + 2 outlier)
    """

    needs_general = True

    def __call__(self, step: Step) -> Tensor:
        """Return the mean over the general items of the batch."""
        outliers = _general(self, step)
        return self.penalty(outliers.log_prob, outliers).mean()


class OtherClasses(CompanionRatioLoss):
    """Mean of softplus(r / T) over labelled inliers and the classes that are not their own.

    r = log p(x | class) - log p_companion(x) for every wrong class (the loss with labels of
    Schirrmeister et al., arXiv:2006.10848).

    Example:
        >>> Objective({"nll": nll, "other_classes": OtherClasses()})
        Objective(1 nll + 1 other_classes)
    """

    densities = (("y", ClassMixture),)

    def __call__(self, step: Step) -> Tensor:
        """Return the mean over items and classes, the right classes counted as 0."""
        mixture = step.latent["y"] if step.latent is not None and "y" in step.latents else None
        if not isinstance(mixture, ClassMixture) or "y" not in step.targets:
            raise InnflowError("objective: other_classes needs app=classification and labels")
        class_log_prob = step.log_prob[:, None] + mixture.class_log_ratio(step.latents["y"])
        penalty = self.penalty(class_log_prob, step)
        wrong = 1 - one_hot(step.targets["y"], mixture.classes).to(penalty.dtype)
        return (wrong * penalty).mean()


class Margin(Term):
    """Hinge loss relu(margin D + nll(inlier) - nll(general)) over pairs of the batch.

    Only the general items contribute to its gradient (margin loss of Schirrmeister et al.,
    arXiv:2006.10848).

    Args:
        margin: margin in nats per dimension; 1 is 1.44 bits per dimension.

    Example:
        >>> Objective({"nll": nll, "margin": Margin(margin=0.5)})
        Objective(1 nll + 1 margin)
    """

    needs_general = True

    def __init__(self, margin: float = 1.0) -> None:
        self.margin = positive("objective: margin", margin)

    def __call__(self, step: Step) -> Tensor:
        """Return the mean over the batch, in nats."""
        general = _general(self, step).log_prob
        gap = self.margin * step.dims - step.log_prob.detach() + general
        return gap.relu().mean()


class Negative(Term):
    """Mean log-likelihood of the general items that are above a floor.

    From Kirichenko et al., arXiv:2006.08545, appendix B, which adds it to the nll of the inliers.

    Args:
        floor: log p in nats per dimension below which an item does not count. The paper takes
            -100,000 nats for images of 3,072 dimensions.

    Example:
        >>> Objective({"nll": nll, "negative": Negative(floor=-30.0)})
        Objective(1 nll + 1 negative)
    """

    needs_general = True

    def __init__(self, floor: float = -100_000 / 3072) -> None:
        self.floor = floor

    def __call__(self, step: Step) -> Tensor:
        """Return the mean over the general items above the floor, in nats; 0 if there are none."""
        log_prob = _general(self, step).log_prob
        above = log_prob > self.floor * step.dims
        return torch.where(above, log_prob, 0.0).sum() / above.sum().clamp(min=1)


def outlier_exposure(
    weight: float = WEIGHT,
    temperature: float = TEMPERATURE,
    against: str = "general",
    other_classes: float = 0.0,
) -> Objective:
    """Return nll per dimension + weight * `Outlier` + other_classes * `OtherClasses`.

    `temperature`, in nats per dimension, and the companion `against` are those of both terms.

    Example:
        >>> outlier_exposure(weight=2.0)
        Objective(1 nll + 2 outlier)
    """
    terms: dict[str, Callable[[Step], Tensor]] = {
        "nll": nll,
        "outlier": Outlier(temperature, against),
        "other_classes": OtherClasses(temperature, against),
    }
    return Objective(terms, {"outlier": weight, "other_classes": other_classes})


def margin(weight: float = 1.0, margin: float = 1.0) -> Objective:
    """Return nll + weight * `Margin`, both per dimension.

    Example:
        >>> margin(weight=0.5)
        Objective(1 nll + 0.5 margin)
    """
    return Objective({"nll": nll, "margin": Margin(margin)}, {"margin": weight})


def negative(weight: float = 1.0, floor: float = -100_000 / 3072) -> Objective:
    """Return nll / 2 + weight * `Negative` / 2, both per dimension.

    Example:
        >>> negative()
        Objective(0.5 nll + 0.5 negative)
    """
    weights = {"nll": 0.5, "negative": weight / 2}
    return Objective({"nll": nll, "negative": Negative(floor)}, weights)


def _general(term: Term, step: Step) -> Step:
    """Return the pass of the general items of a batch; raise if it has none, or no companion."""
    outliers = step.outliers
    term.check(outliers.companions if outliers else (), outliers is not None)
    return cast(Step, outliers)
