"""Lotka-Volterra model: predators and prey, ten times in 20 days, with log-normal noise."""

import torch
from torch import Tensor
from torch.distributions import Independent, LogNormal

from experiments.simulator.benchmark.ode import integrate

PARAMETERS = ("alpha", "beta", "gamma", "delta")
START, NOISE, DAYS, STEPS = (30.0, 1.0), 0.1, 2.1, 140

prior = Independent(LogNormal(torch.tensor([-0.125, -3.0, -0.125, -3.0]), torch.full((4,), 0.5)), 1)


def solve(x: Tensor) -> Tensor:
    """Return the logarithms of prey, then of predators, (B, 20) float64."""
    alpha, beta, gamma, delta = x.double().unbind(dim=1)

    def slope(state: Tensor) -> Tensor:
        prey, predators = state.exp().unbind(dim=1)
        return torch.stack([alpha - beta * predators, delta * prey - gamma], dim=1)

    start = torch.tensor(START, dtype=torch.float64).log().repeat(len(x), 1)
    return integrate(slope, start, DAYS / STEPS, STEPS, 10).permute(1, 2, 0).flatten(1)


def forward(x: Tensor) -> Tensor:
    """Return random data (B, 20) for parameters (B, 4)."""
    log = solve(x)
    return (log + NOISE * torch.randn_like(log)).exp().float()
