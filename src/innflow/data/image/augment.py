"""Random variations of a whole batch of images, on the device where it lies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from innflow.data.base import check_choice
from innflow.errors import InnflowError
from innflow.system.ranks import rand, randint

AMOUNTS: dict[str, float] = {
    "flip": 0.5,
    "zoom": 0.1,
    "shear": 5.0,
    "rotate": 10.0,
    "resample": 0.2,
}
"""Default amounts: probability of a mirror image, relative zoom, shear and rotation in degrees,
share of the values that are drawn anew."""

_MOST = {"flip": 1.0, "zoom": 0.9, "shear": 80.0, "rotate": 180.0, "resample": 1.0}


class Augment(nn.Module):
    """Flips, zooms, shears, rotates and resamples each image of a batch by its own random amount.

    Zoom, shear and rotation are one bilinear interpolation, with the image mirrored at its borders,
    and the result is rounded: a flow models 8-bit images, so it must never see a grey level
    between two others. A flip interpolates nothing. Resampling replaces a share of the values by
    uniform ones, which leaves a model of the background (Ren et al., arXiv:1906.02845).

    All is drawn and done where the batch lies, and nothing waits for the device.

    Args:
        amounts: Name -> amount. The flip is a probability; for the others the amount is drawn
            uniformly between minus and plus it (degrees; a zoom of 0.1 is 0.9 to 1.1).
    """

    def __init__(self, amounts: Mapping[str, float]) -> None:
        super().__init__()
        self.amounts = dict(amounts)
        self.warps = any(name in self.amounts for name in ("zoom", "shear", "rotate"))

    def forward(self, x: Tensor) -> Tensor:
        """Return images (B, C, H, W), 0 to 255, varied one by one, in the type they came in."""
        mirrored = None
        if "flip" in self.amounts:
            mirrored = rand((len(x), 1, 1, 1), batch_axis=0, device=x.device) < self.amounts["flip"]
        if self.warps:
            zoom, shear, turn = (
                self.amounts.get(name, 0.0) for name in ("zoom", "shear", "rotate")
            )
            drawn = 2 * rand((4, len(x)), batch_axis=1, device=x.device) - 1
            x = warp(x, turn * drawn[0], 1 + zoom * drawn[1], shear * drawn[2:], mirrored)
        elif mirrored is not None:
            x = torch.where(mirrored, x.flip(-1), x)
        if "resample" in self.amounts:
            chosen = rand(x.shape, batch_axis=0, device=x.device) < self.amounts["resample"]
            values = randint(256, x.shape, batch_axis=0, dtype=x.dtype, device=x.device)
            x = torch.where(chosen, values, x)
        return x

    def extra_repr(self) -> str:
        """Return the amounts, for repr."""
        return ", ".join(f"{name}={amount:g}" for name, amount in self.amounts.items())


def warp(
    x: Tensor, turn: Tensor, scale: Tensor, shear: Tensor, mirrored: Tensor | None = None
) -> Tensor:
    """Shear, scale and rotate each image about its centre, in one bilinear interpolation.

    Args:
        x: Images (B, C, H, W), 0 to 255, of any type.
        turn: Clockwise, in degrees, (B,).
        scale: Above 1 the picture grows, (B,).
        shear: Along x, then along y, in degrees, (2, B).
        mirrored: Which are mirrored left to right before, (B, 1, 1, 1); by default none.

    Returns:
        Images of the same shape and type, rounded to whole numbers.
    """
    across, down = shear.deg2rad().tan()
    cos, sin = turn.deg2rad().cos() / scale, turn.deg2rad().sin() / scale
    height, width = x.shape[-2:]
    both = 1 + across * down
    # The inverse map: where in the image a pixel of the result comes from, both from -1 to 1.
    from_x = [both * cos - across * sin, (both * sin + across * cos) * (height / width)]
    from_y = [(down * cos - sin) * (width / height), down * sin + cos]
    if mirrored is not None:
        sign = 1 - 2 * mirrored.flatten().float()
        from_x = [sign * entry for entry in from_x]
    grid = torch.empty(len(x), height, width, 2, device=x.device)
    columns, rows = _centres(width, x.device), _centres(height, x.device)
    for axis, (along_row, along_column) in enumerate((from_x, from_y)):
        # Written side by side: an affine map is a sum of what each row and each column adds.
        torch.add(
            (along_row[:, None] * columns)[:, None, :],
            (along_column[:, None] * rows)[:, :, None],
            out=grid[..., axis],
        )
    y = F.grid_sample(x.float(), grid, padding_mode="reflection", align_corners=False)
    y = y.round_().clamp_(0, 255)
    # By way of 16 bits, which takes two thirds of the time on a CPU.
    return y.to(torch.int16).to(x.dtype) if x.dtype == torch.uint8 else y.to(x.dtype)


def _centres(count: int, device: torch.device) -> Tensor:
    """Return the centres of so many pixels that fill -1 to 1."""
    return (2 * torch.arange(count, device=device) + 1) / count - 1


def build_augment(chosen: Sequence[str] | Mapping[str, Any] | None) -> Augment | None:
    """Return the augmentation by the names in it, at default amounts unless they are given.

    Raises:
        InnflowError: A name is not known, or an amount out of range.
    """
    if not chosen:
        return None
    if isinstance(chosen, str):
        chosen = [chosen]
    amounts: dict[str, float] = {}
    for name in chosen:
        known = check_choice("augment", name, tuple(AMOUNTS))
        amount = chosen[name] if isinstance(chosen, Mapping) else AMOUNTS[known]
        number = isinstance(amount, (int, float)) and not isinstance(amount, bool)
        if not number or not (math.isfinite(amount) and 0 < amount <= _MOST[known]):
            raise InnflowError(
                f"data.augment.{known}={amount}: give a number above 0, at most {_MOST[known]:g}"
            )
        amounts[known] = float(amount)
    return Augment(amounts)
