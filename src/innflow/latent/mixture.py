"""Densities of the class part: mixtures with one normal component for each class."""

import math

import torch
from torch import Tensor, nn

from innflow.errors import InnflowError
from innflow.latent.density import Density, draw_normal


class ClassMixture(Density):
    """Mixture of normals, one for each class, with learned means and standard deviations.

    As the other latent parts do not depend on the class, p(class | x) follows from the class part
    y alone by Bayes' rule, exactly (IB-INN, Ardizzone et al., arXiv:2001.06448).

    Args:
        classes: number C of classes.
        separation: initial distance between neighbouring means, in standard deviations.
        sigma: initial standard deviation of every class.
        learned_prior: learn p(class) by maximum likelihood; uniform otherwise.

    Example:
        >>> mixture = ClassMixture(classes=3)
        >>> mixture.build(features=2)
        >>> mixture.class_log_prob(torch.zeros(4, 2)).shape
        torch.Size([4, 3])
    """

    means: nn.Parameter | Tensor
    log_scales: nn.Parameter | Tensor

    def __init__(
        self, classes: int, separation: float = 5.0, sigma: float = 1.0, learned_prior: bool = False
    ) -> None:
        super().__init__()
        if classes < 1 or not separation > 0 or not sigma > 0:
            raise InnflowError(
                f"latent: classes={classes}, separation={separation}, sigma={sigma}: there "
                "must be at least one class, a separation and a sigma above 0"
            )
        self.classes = classes
        self.separation = separation
        self.sigma = sigma
        self.prior_logits = nn.Parameter(torch.zeros(classes), requires_grad=learned_prior)

    def build(self, features: int) -> None:
        """Create means and standard deviations, (C, features)."""
        means = self.sigma * spread_means(self.classes, features, self.separation)
        self.means = nn.Parameter(means)
        self.log_scales = nn.Parameter(torch.full_like(means, math.log(self.sigma)))

    @property
    def log_prior(self) -> Tensor:
        """Log p(class), (C,) in nats."""
        return self.prior_logits.log_softmax(dim=0)

    def class_log_prob(self, value: Tensor) -> Tensor:
        """Return log p(y | class) in nats, (B, C), of values (B, N)."""
        deviation = (value[:, None, :] - self.means) * (-self.log_scales).exp()
        constant = 0.5 * value.shape[1] * math.log(2 * math.pi) + self.log_scales.sum(dim=1)
        return -0.5 * deviation.square().sum(dim=2) - constant

    def joint_log_prob(self, value: Tensor) -> Tensor:
        """Return log p(y, class) in nats, (B, C), of values (B, N)."""
        return self.class_log_prob(value) + self.log_prior

    def class_log_ratio(self, value: Tensor) -> Tensor:
        """Return log p(y | class) - log p(y) in nats, (B, C), of values (B, N)."""
        return self.class_log_prob(value) - self.log_prob(value)[:, None]

    def log_prob(self, value: Tensor, target: Tensor | None = None) -> Tensor:
        """Return log p(y), (B,) in nats; with labels (B,) as target, log p(y | label)."""
        if target is not None:
            return self.class_log_prob(value).gather(1, target[:, None]).squeeze(1)
        return self.joint_log_prob(value).logsumexp(dim=1)

    def sample(
        self,
        like: Tensor,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
        target: Tensor | None = None,
    ) -> Tensor:
        """Draw values of the classes in `target` (B,), or of classes drawn from the prior."""
        if target is None:
            weights = self.log_prior.detach().exp().cpu()
            target = torch.multinomial(weights, len(like), replacement=True, generator=generator)
        noise = draw_normal(like, generator)
        return self.from_normal(noise, temperature, target.to(like.device))

    def from_normal(
        self, noise: Tensor, temperature: float = 1.0, target: Tensor | None = None
    ) -> Tensor:
        """Map standard normal numbers (B, N) to values of the classes in `target` (B,)."""
        return self.means[target] + self.log_scales[target].exp() * (noise * temperature)

    def transfer(self, value: Tensor, label: Tensor, target: Tensor) -> Tensor:
        """Move values (B, N) from classes (B,) to others, keeping the standardised deviation."""
        relative = (value - self.means[label]) * (-self.log_scales[label]).exp()
        return self.means[target] + self.log_scales[target].exp() * relative

    def extra_repr(self) -> str:
        """Show the number of classes."""
        return f"classes={self.classes}"


class OneHot(ClassMixture):
    """Mixture of normals with fixed means, the one-hot vectors of the classes.

    Args:
        classes: number C of classes, which is also the size of the part.
        sigma: standard deviation of every class.
        learned_prior: as for `ClassMixture`.

    Example:
        >>> mixture = OneHot(classes=3)
        >>> mixture.build(features=3)
        >>> mixture.class_log_prob(torch.eye(3)).argmax(dim=1)
        tensor([0, 1, 2])
    """

    def __init__(self, classes: int, sigma: float = 0.1, learned_prior: bool = False) -> None:
        super().__init__(classes, sigma=sigma, learned_prior=learned_prior)

    def build(self, features: int) -> None:
        """Fix means and standard deviations; raise unless there is one feature for each class."""
        if features != self.classes:
            raise InnflowError(
                f"latent: one-hot labels of {self.classes} classes need a part y of "
                f"{self.classes}, not {features}: partition.right.y={self.classes}"
            )
        log_scales = torch.full((self.classes, features), math.log(self.sigma))
        self.register_buffer("means", torch.eye(self.classes), persistent=False)
        self.register_buffer("log_scales", log_scales, persistent=False)


def spread_means(classes: int, features: int, separation: float) -> Tensor:
    """Return class means (classes, features) with a given distance to the nearest other mean.

    With at least one feature for each class, each mean is constant on a block of features of its
    own, and all are equally far apart. Otherwise the means lie on a line (one feature), on a circle
    (two features) or in random directions.
    """
    if features >= classes:
        block = features // classes
        means = torch.zeros(classes, features)
        means[:, : classes * block] = torch.eye(classes).repeat_interleave(block, dim=1)
        return means * (separation / math.sqrt(2 * block))
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
