"""SIR model of an epidemic: infected among 1,000 tested people, ten times in 160 days."""

import math

import torch
from torch import Tensor
from torch.distributions import Independent, LogNormal

from experiments.simulator.benchmark.ode import integrate

PARAMETERS = ("beta", "gamma")
POPULATION, TESTED, DAYS, STEPS = 1e6, 1000, 17, 34

prior = Independent(
    LogNormal(torch.tensor([math.log(0.4), math.log(0.125)]), torch.tensor([0.5, 0.2])), 1
)


def forward(x: Tensor) -> Tensor:
    """Return random counts (B, 10) for parameters (B, 2)."""
    beta, gamma = x.double().unbind(dim=1)

    def slope(state: Tensor) -> Tensor:
        susceptible, infected = state.unbind(dim=1)
        new = beta * susceptible * infected / POPULATION
        return torch.stack([-new, new - gamma * infected], dim=1)

    start = torch.tensor([POPULATION - 1, 1.0], dtype=torch.float64).repeat(len(x), 1)
    infected = integrate(slope, start, DAYS / STEPS, STEPS, 10)[..., 1].T
    share = (infected / POPULATION).clamp(0, 1)
    return torch.distributions.Binomial(TESTED, share).sample().float()
