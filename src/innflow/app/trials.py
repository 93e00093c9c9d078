"""Independent trials that stand in the data one after the other, in no order."""

from __future__ import annotations

import math
from itertools import permutations

import torch
from torch import Tensor

from innflow.system.ranks import rand

MOST = 24
"""Orders of the trials that a density is averaged over: all of up to four trials."""


def shuffle_trials(y: Tensor, trials: int, generator: torch.Generator) -> Tensor:
    """Return data (B, trials * K) with the trials of each item in a random order of its own."""
    apart = y.unflatten(1, (trials, -1))
    keys = rand(apart.shape[:2], batch_axis=0, generator=generator)
    order = keys.argsort(dim=1).to(y.device)
    return apart.gather(1, order[..., None].expand_as(apart)).flatten(1)


def orders(trials: int) -> Tensor:
    """Return orders of so many trials, (R, trials): all of them, or as many random ones as MOST."""
    if math.factorial(trials) <= MOST:
        return torch.tensor(list(permutations(range(trials))))
    generator = torch.Generator().manual_seed(0)
    return torch.stack([torch.randperm(trials, generator=generator) for _ in range(MOST)])
