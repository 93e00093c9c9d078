"""SLCP with 92 further data that do not depend on the parameters, in a fixed random order."""

import torch
from torch import Tensor

from experiments.simulator.benchmark import load_constants
from innflow.problem import slcp
from innflow.problem.slcp import prior

__all__ = ["forward", "prior"]

CONSTANTS = load_constants("slcp_distractors")


def forward(x: Tensor) -> Tensor:
    """Return random data (B, 100) for parameters (B, 5)."""
    component = torch.multinomial(CONSTANTS["weights"], len(x), replacement=True)
    freedom = CONSTANTS["df"][component, None]
    # A multivariate Student t is a normal vector over the root of a chi-square variable.
    chi_square = torch.distributions.Chi2(freedom).sample()
    normal = torch.randn(len(x), 92, 1, dtype=torch.float64)
    spread = (CONSTANTS["scale_tril"][component] @ normal).squeeze(2)
    noise = CONSTANTS["loc"][component] + spread * (freedom / chi_square).sqrt()
    return torch.cat((slcp.forward(x), noise.float()), dim=1)[:, CONSTANTS["permutation"]]
