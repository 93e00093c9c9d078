"""Loss terms and objectives for classification."""

from __future__ import annotations

from typing import cast

from torch import Tensor
from torch.nn.functional import cross_entropy

from innflow.errors import InnflowError
from innflow.latent.mixture import ClassMixture
from innflow.objective.base import Objective, Step, nll


class CrossEntropy:
    """The cross-entropy in nats of p(class | x), by Bayes' rule over the class part y.

    Args:
        label_smoothing: share of every label that is spread over all classes.
    """

    per_dim = False

    def __init__(self, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing < 1:
            raise InnflowError(f"objective: label_smoothing={label_smoothing}: takes [0, 1)")
        self.label_smoothing = label_smoothing

    def __call__(self, step: Step) -> Tensor:
        """Return the mean over the batch."""
        if step.latent is None or "y" not in step.targets:
            raise InnflowError("objective: cross_entropy needs labels, the data have none")
        mixture = cast(ClassMixture, step.latent["y"])
        logits = mixture.class_log_prob(step.latents["y"]) + mixture.log_prior
        return cross_entropy(logits, step.targets["y"], label_smoothing=self.label_smoothing)


def information_bottleneck(beta: float = 1.0, label_smoothing: float = 0.0) -> Objective:
    """Return 2/(1+beta) nll per dimension + 2 beta/(1+beta) cross_entropy.

    The one trade-off between a good density and good labels (IB-INN, arXiv:2001.06448): with
    beta = 0 the labels are not used, with a large one the flow is a plain classifier. With
    beta = 1/dims it is maximum likelihood of x and label together.

    Args:
        beta: the trade-off, at least 0.
        label_smoothing: of the cross-entropy.
    """
    if not beta >= 0:
        raise InnflowError(f"objective: beta={beta} must be at least 0")
    weights = {"nll": 2 / (1 + beta), "cross_entropy": 2 * beta / (1 + beta)}
    return Objective({"nll": nll, "cross_entropy": CrossEntropy(label_smoothing)}, weights)
