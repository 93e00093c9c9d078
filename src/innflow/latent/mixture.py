"""ClassMixture: one normal a class, so that a flow classifies by Bayes' rule."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from innflow.errors import InnflowError
from innflow.latent.density import draw_normal


class ClassMixture(nn.Module):
    """The density of the class part y: a normal for each class, weighted by the class prior.

    Means and widths are learned. With the rest of the latent the same for every class,
    p(class | x) follows from y alone, exactly (IB-INN, Ardizzone et al., arXiv:2001.06448).

    Args:
        classes: their number C.
        separation: distance between the means at the start, in widths.
        sigma: width of every class at the start.
        learned_prior: learn p(class) from the likelihood; uniform otherwise.
    """

    means: nn.Parameter | Tensor
    log_scales: nn.Parameter | Tensor

    def __init__(
        self,
        classes: int,
        separation: float = 5.0,
        sigma: float = 1.0,
        learned_prior: bool = False,
    ) -> None:
        super().__init__()
        if classes < 1 or not separation > 0 or not sigma > 0:
            raise InnflowError(
                f"latent: classes={classes}, separation={separation}, sigma={sigma}: takes at "
                "least one class, and distances and widths above 0"
            )
        self.classes = classes
        self.separation = separation
        self.sigma = sigma
        logits = torch.zeros(classes)
        self.prior_logits = nn.Parameter(logits, requires_grad=learned_prior)

    def build(self, features: int) -> None:
        """Make means and widths for a part of this size."""
        self.means = nn.Parameter(self.sigma * spread(self.classes, features, self.separation))
        self.log_scales = nn.Parameter(
            torch.full((self.classes, features), math.log(self.sigma)),
        )

    @property
    def log_prior(self) -> Tensor:
        """Log p(class), (C,)."""
        return self.prior_logits.log_softmax(dim=0)

    def class_log_prob(self, value: Tensor) -> Tensor:
        """Return log p(y | class) in nats, (B, C), of values (B, N)."""
        deviation = (value[:, None, :] - self.means) * (-self.log_scales).exp()
        constant = 0.5 * value.shape[1] * math.log(2 * math.pi) + self.log_scales.sum(dim=1)
        return -0.5 * deviation.square().sum(dim=2) - constant

    def log_prob(self, value: Tensor, target: Tensor | None = None) -> Tensor:
        """Return log p(y), (B,); with labels (B,) as target, log p(y | label)."""
        by_class = self.class_log_prob(value)
        if target is not None:
            return by_class.gather(1, target[:, None]).squeeze(1)
        return (by_class + self.log_prior).logsumexp(dim=1)

    def sample(
        self,
        like: Tensor,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
        target: Tensor | None = None,
    ) -> Tensor:
        """Draw values like `like`, of the labels (B,) or of labels drawn from the prior."""
        if target is None:
            weights = self.log_prior.detach().exp().cpu()
            target = torch.multinomial(weights, len(like), replacement=True, generator=generator)
        target = target.to(like.device)
        noise = draw_normal(like, generator) * temperature
        return self.means[target] + self.log_scales[target].exp() * noise

    def transfer(self, value: Tensor, label: Tensor, target: Tensor) -> Tensor:
        """Return values (B, N) moved to other classes: same place relative to the class."""
        relative = (value - self.means[label]) * (-self.log_scales[label]).exp()
        return self.means[target] + self.log_scales[target].exp() * relative

    def extra_repr(self) -> str:
        """Show the number of classes."""
        return f"classes={self.classes}"


class OneHot(ClassMixture):
    """The label-vector variant of y: every class a fixed normal around its one-hot vector.

    Args:
        classes: their number C, which is also the size of the part.
        sigma: width around the one-hot vectors.
        learned_prior: learn p(class) from the likelihood; uniform otherwise.
    """

    def __init__(self, classes: int, sigma: float = 0.1, learned_prior: bool = False) -> None:
        super().__init__(classes, sigma=sigma, learned_prior=learned_prior)

    def build(self, features: int) -> None:
        """Fix means and widths; the part must have one feature a class."""
        if features != self.classes:
            raise InnflowError(
                f"latent: one-hot labels of {self.classes} classes need a part y of "
                f"{self.classes}, not {features}: partition.right.y={self.classes}"
            )
        log_scales = torch.full((self.classes, features), math.log(self.sigma))
        self.register_buffer("means", torch.eye(self.classes), persistent=False)
        self.register_buffer("log_scales", log_scales, persistent=False)


def spread(classes: int, features: int, separation: float) -> Tensor:
    """Return class means (classes, features) at this distance from their nearest neighbours.

    With a feature or more for each class the means are a block each of as many features, all
    equally far apart; on a line and in the plane they stand in a row and on a circle; otherwise in
    random directions.
    """
    if features >= classes:
        block = features // classes
        means = torch.zeros(classes, features)
        for label in range(classes):
            means[label, label * block : (label + 1) * block] = separation / math.sqrt(2 * block)
        return means
    if features == 1:
        return separation * (torch.arange(classes) - (classes - 1) / 2)[:, None]
    if features == 2:
        angles = 2 * math.pi * torch.arange(classes) / classes
        radius = separation / (2 * math.sin(math.pi / classes))
        return radius * torch.stack([angles.cos(), angles.sin()], dim=1)
    directions = torch.randn(classes, features, generator=torch.Generator().manual_seed(0))
    directions = directions / directions.norm(dim=1, keepdim=True)
    nearest = torch.cdist(directions, directions).fill_diagonal_(torch.inf).min()
    return directions * (separation / nearest)
