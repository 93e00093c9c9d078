"""Loss terms and objectives of classification."""

from typing import cast

from torch import Tensor
from torch.nn.functional import cross_entropy

from innflow.errors import InnflowError
from innflow.latent.mixture import ClassMixture
from innflow.objective.base import Objective, Step, Term, nll


class CrossEntropy(Term):
    """Cross-entropy in nats of p(class | x), which follows from the class part y by Bayes' rule.

    Args:
        label_smoothing: share of every label that is spread over all classes.

    Raises:
        InnflowError: when called, if the batch has no labels.

    Example:
        >>> Objective({"nll": nll, "cross_entropy": CrossEntropy(label_smoothing=0.1)})
        Objective(1 nll + 1 cross_entropy)
    """

    per_dim = False
    densities = (("y", ClassMixture),)

    def __init__(self, label_smoothing: float = 0.0) -> None:
        if not 0 <= label_smoothing < 1:
            raise InnflowError(f"objective: label_smoothing={label_smoothing}: must be in [0, 1)")
        self.label_smoothing = label_smoothing

    def __call__(self, step: Step) -> Tensor:
        """Return the mean over the batch, in nats."""
        if step.latent is None or "y" not in step.targets:
            raise InnflowError("objective: cross_entropy needs labels, the data have none")
        mixture = cast(ClassMixture, step.latent["y"])
        logits = mixture.joint_log_prob(step.latents["y"])
        return cross_entropy(logits, step.targets["y"], label_smoothing=self.label_smoothing)


def information_bottleneck(beta: float = 1.0, label_smoothing: float = 0.0) -> Objective:
    """Return 2/(1+beta) nll per dimension + 2 beta/(1+beta) cross_entropy.

    The trade-off between density estimation and classification of IB-INN (arXiv:2001.06448):
    beta = 0 uses no labels, a large beta trains a classifier, and beta = 1/dims is maximum
    likelihood of x and label together.

    Example:
        >>> information_bottleneck(beta=1.0)
        Objective(1 nll + 1 cross_entropy)
    """
    if not beta >= 0:
        raise InnflowError(f"objective: beta={beta}: must be a number of at least 0")
    weights = {"nll": 2 / (1 + beta), "cross_entropy": 2 * beta / (1 + beta)}
    return Objective({"nll": nll, "cross_entropy": CrossEntropy(label_smoothing)}, weights)
