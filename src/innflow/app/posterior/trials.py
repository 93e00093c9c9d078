"""Exchangeable trials: repeated observations under the same parameters, concatenated in y."""

import math
from itertools import permutations

import torch
from torch import Tensor

from innflow.system.ranks import rand

MAX_ORDERS = 24
"""Largest number of trial orders that a density is averaged over: all orders of four trials."""


def shuffle_trials(y: Tensor, trials: int, generator: torch.Generator) -> Tensor:
    """Return data (B, trials * K) with the trials of every item in a random order."""
    apart = y.unflatten(1, (trials, -1))
    keys = rand(apart.shape[:2], batch_axis=0, generator=generator)
    order = keys.argsort(dim=1).to(y.device)
    return apart.gather(1, order[..., None].expand_as(apart)).flatten(1)


def trial_orders(trials: int) -> Tensor:
    """Return all orders of the trials, (R, trials), or MAX_ORDERS random ones if there are more."""
    if math.factorial(trials) <= MAX_ORDERS:
        return torch.tensor(list(permutations(range(trials))))
    generator = torch.Generator().manual_seed(0)
    return torch.stack([torch.randperm(trials, generator=generator) for _ in range(MAX_ORDERS)])
