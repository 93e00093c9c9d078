"""Loss terms and objectives of inverse problems."""

from collections.abc import Sequence

import torch
from torch import Tensor

from innflow.errors import InnflowError
from innflow.latent.density import Density
from innflow.objective.base import Objective, Step, Term

Kernels = Sequence[Sequence[float]]
"""(C, a) of each inverse multiquadratic kernel (a C / (C + d^2))^a of the distance d."""

# Kernels and weights of Ardizzone et al., arXiv:1808.04730, in their published code.
FORWARD_KERNELS = ((0.2, 2.0), (1.5, 2.0), (3.0, 2.0))
BACKWARD_KERNELS = ((0.2, 0.1), (0.2, 0.5), (0.2, 2.0))


class Fit(Term):
    """Squared error of the forward map: |y_hat - y|^2 + |pad|^2, summed over features.

    Example:
        >>> y = torch.ones(4, 2)
        >>> step = Step({}, {"y": y}, torch.zeros(4), torch.zeros(4), targets={"y": 3 * y})
        >>> Fit()(step)
        tensor(8.)
    """

    per_dim = False
    densities = (("y", Density),)

    def __call__(self, step: Step) -> Tensor:
        """Return the mean over the batch."""
        error = (step.latents["y"] - _observed(step)).square().sum(dim=1)
        if "pad" in step.latents:
            error = error + step.latents["pad"].square().sum(dim=1)
        return error.mean()


class LatentMMD(Term):
    """MMD between (y_hat, z_hat) and (y, z), with z standard normal.

    y_hat is detached: the term makes z normal and independent of y without changing the fit.

    Args:
        kernels: (C, a) of each kernel.

    Example:
        >>> latents = {"y": torch.zeros(4, 1), "z": torch.randn(4, 2)}
        >>> step = Step({}, latents, torch.zeros(4), torch.zeros(4), targets={"y": latents["y"]})
        >>> bool(LatentMMD()(step) >= 0)
        True
    """

    per_dim = False
    densities = (("y", Density), ("z", Density))

    def __init__(self, kernels: Kernels = FORWARD_KERNELS) -> None:
        self.kernels = kernels

    def __call__(self, step: Step) -> Tensor:
        """Return the biased estimate over the batch."""
        z, y = step.latents["z"], _observed(step)
        found = torch.cat((step.latents["y"].detach(), z), dim=1)
        return mmd(found, torch.cat((y, torch.randn_like(z)), dim=1), self.kernels)


class InputMMD(Term):
    """MMD between x and samples of the flow for the observed y, the inverse of (y, z, pad).

    Args:
        kernels: (C, a) of each kernel.
        ramp: increase the weight from 0.004 to 1 over training; with the full weight from the
            start, training may not converge (Ardizzone et al., arXiv:1808.04730).

    Example:
        >>> Objective({"input_mmd": InputMMD(ramp=False)})
        Objective(1 input_mmd)
    """

    per_dim = False

    def __init__(self, kernels: Kernels = BACKWARD_KERNELS, ramp: bool = True) -> None:
        self.kernels = kernels
        self.ramp = ramp

    def __call__(self, step: Step) -> Tensor:
        """Return the biased estimate over the batch, times the ramp."""
        if step.latent is None or step.invert is None:
            raise InnflowError("objective: input_mmd needs the inverse of the flow")
        drawn = step.latent.sample(step.latents, targets=step.targets)
        weight = min(1.0, 2 * 0.002 ** (1 - step.progress)) if self.ramp else 1.0
        return weight * mmd(step.invert(drawn)["x"], step.parts["x"], self.kernels)


def bidirectional(
    fit: float = 1.0,
    latent: float = 50.0,
    inputs: float = 500.0,
    ramp: bool = True,
    forward_kernels: Kernels = FORWARD_KERNELS,
    backward_kernels: Kernels = BACKWARD_KERNELS,
) -> Objective:
    """Return the objective of Ardizzone et al., arXiv:1808.04730: fit, latent_mmd and input_mmd.

    A small MMD is no proof of a good posterior: a classifier may still separate its samples from
    those of the exact posterior.

    Args:
        fit: weight of `Fit`.
        latent: weight of `LatentMMD`.
        inputs: weight of `InputMMD`.
        ramp: as for `InputMMD`.
        forward_kernels: kernels of `LatentMMD`.
        backward_kernels: kernels of `InputMMD`.

    Example:
        >>> bidirectional(fit=10.0)
        Objective(10 fit + 50 latent_mmd + 500 input_mmd)
    """
    terms = {
        "fit": Fit(),
        "latent_mmd": LatentMMD(forward_kernels),
        "input_mmd": InputMMD(backward_kernels, ramp),
    }
    return Objective(terms, {"fit": fit, "latent_mmd": latent, "input_mmd": inputs})


def mmd(a: Tensor, b: Tensor, kernels: Kernels) -> Tensor:
    """Return the biased estimate, at least 0, of the squared maximum mean discrepancy.

    The kernel of samples a and b, (B, N) each, is a sum of inverse multiquadratic kernels
    (Tolstikhin et al., arXiv:1711.01558).
    """

    def mean(a: Tensor, b: Tensor) -> Tensor:
        products = a.square().sum(1)[:, None] + b.square().sum(1)[None, :] - 2 * a @ b.T
        squared = products.clamp(min=0)
        values = [(power * c / (c + squared)).pow(power).mean() for c, power in kernels]
        return torch.stack(values).sum()

    return mean(a, a) + mean(b, b) - 2 * mean(a, b)


def _observed(step: Step) -> Tensor:
    if "y" not in step.targets:
        raise InnflowError("objective: fit and latent_mmd: each needs y, the data have none")
    return step.targets["y"]
