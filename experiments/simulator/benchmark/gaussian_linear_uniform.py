"""Gaussian linear task with the prior U(-1, 1) for each of ten parameters."""

import torch
from torch.distributions import Independent, Uniform

from innflow.problem.gaussian_linear import forward

__all__ = ["forward", "prior"]

prior = Independent(Uniform(-torch.ones(10), torch.ones(10)), 1)
