"""Runge-Kutta integration of ordinary differential equations for many parameters at once."""

from collections.abc import Callable

import torch
from torch import Tensor


def integrate(
    slope: Callable[[Tensor], Tensor], start: Tensor, step: float, every: int, count: int
) -> Tensor:
    """Return the solution (count, B, D) after every `every` steps, the start first.

    Args:
        slope: time derivative (B, D) of a state (B, D).
        start: (B, D).
        step: of time, fixed; the method is the classical one of fourth order.
        every: steps between two returned states.
        count: number of returned states.
    """
    state, found = start, [start]
    for _ in range(count - 1):
        for _ in range(every):
            first = slope(state)
            second = slope(state + step / 2 * first)
            third = slope(state + step / 2 * second)
            fourth = slope(state + step * third)
            state = state + step / 6 * (first + 2 * second + 2 * third + fourth)
        found.append(state)
    return torch.stack(found)
