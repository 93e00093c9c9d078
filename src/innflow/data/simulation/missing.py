"""Values and trials of y that are left out at random, so that a posterior is learned without them.

A missing value is NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from innflow.data.base import is_number
from innflow.errors import InnflowError
from innflow.system.ranks import rand


@dataclass(frozen=True)
class Missing:
    """Random choice of the values of y that are missing.

    Attributes:
        share: mean share of the values that are missing. The share of an item is uniform on the
            widest interval with this mean, so that complete data occur too if it is at most 1/2.
        trials: smallest and largest number of trials. That of an item is log-uniform.

    Example:
        >>> y = Missing(0.5, (1, 4)).hide(torch.zeros(3, 8), torch.Generator().manual_seed(0))
        >>> y.isnan().any(dim=1)
        tensor([True, True, True])
    """

    share: float = 0.0
    trials: tuple[int, int] = (1, 1)

    def hide(self, y: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return data (B, M) with NaN for missing values; those of training draw by rank."""
        options: dict[str, Any] = {"batch_axis": 0, "device": y.device, "generator": generator}
        least, most = self.trials
        if least < most:
            number = least * ((most + 1) / least) ** rand((len(y), 1), **options)
            order = rand((len(y), most), **options).argsort(dim=1).argsort(dim=1)
            absent = order >= number.floor()
            y = y.masked_fill(absent.repeat_interleave(y.shape[1] // most, dim=1), torch.nan)
        if self.share:
            low, high = max(0.0, 2 * self.share - 1), min(1.0, 2 * self.share)
            share = low + (high - low) * rand((len(y), 1), **options)
            y = y.masked_fill(rand(y.shape, **options) < share, torch.nan)
        return y


def check_missing(share: Any, trials: Any) -> Missing:
    """Return the choice that the keys `missing` and `trials` of the data describe.

    Raises:
        InnflowError: naming the key whose value is out of range.
    """
    if share is not None and share != 0 and (not is_number(share, 0, 1) or share == 1):
        raise InnflowError(f"data.missing={share}: must be a share from 0 to below 1, or null")
    pair = [trials, trials] if isinstance(trials, int) else [1, 1] if trials is None else trials
    numbers = isinstance(pair, Sequence) and all(type(number) is int for number in pair)
    if not numbers or len(pair) != 2 or not 1 <= pair[0] <= pair[1]:
        raise InnflowError(f"data.trials={trials}: must be a number, or [least, most]")
    return Missing(share or 0.0, (pair[0], pair[1]))
