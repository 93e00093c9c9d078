"""Random augmentation of a batch of images on its device."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from innflow.data.base import check_choice, is_number
from innflow.errors import InnflowError
from innflow.system.ranks import rand, randint

AMOUNTS = {"flip": 0.5, "zoom": 0.1, "shear": 5.0, "rotate": 10.0, "resample": 0.2}
"""Default amounts: probability of a flip, relative zoom, shear and rotation in degrees, fraction of
resampled values."""

_MOST = {"flip": 1.0, "zoom": 0.9, "shear": 80.0, "rotate": 180.0, "resample": 1.0}


class Augment(nn.Module):
    """Flip, zoom, shear, rotate and resample each image of a batch by a random amount.

    Zoom, shear and rotation are one bilinear interpolation, reflected at the borders and rounded to
    whole grey levels. A flip does not interpolate. Resampling replaces a fraction of the values by
    uniform ones, for a model of the background (Ren et al., arXiv:1906.02845). Nothing synchronises
    with the device.

    Args:
        amounts: Name -> amount: a probability for flip, a fraction for resample; the others are
            drawn uniformly between minus and plus the amount (degrees; zoom 0.1 is 0.9 to 1.1).
    """

    def __init__(self, amounts: Mapping[str, float]) -> None:
        super().__init__()
        self.amounts = dict(amounts)
        self.warps = any(name in self.amounts for name in ("zoom", "shear", "rotate"))

    def forward(self, x: Tensor) -> Tensor:
        """Return augmented images of images (B, C, H, W), 0 to 255, in the same type."""
        mirrored = None
        if "flip" in self.amounts:
            mirrored = rand((len(x), 1, 1, 1), batch_axis=0, device=x.device) < self.amounts["flip"]
        if self.warps:
            zoom, shear, turn = (self.amounts.get(name, 0) for name in ("zoom", "shear", "rotate"))
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
    """Shear, scale and rotate images (B, C, H, W), 0 to 255, about their centres.

    It is one bilinear interpolation, rounded to integers of the type of x.

    Args:
        x: Images, of any type.
        turn: Clockwise rotation in degrees, (B,).
        scale: Magnification, (B,).
        shear: Along x, then along y, in degrees, (2, B).
        mirrored: Whether each image is first flipped left to right, (B, 1, 1, 1).
    """
    across, down = shear.deg2rad().tan()
    cos, sin = turn.deg2rad().cos() / scale, turn.deg2rad().sin() / scale
    height, width = x.shape[-2:]
    both = 1 + across * down
    # The inverse map from pixels of the result to the image, in coordinates from -1 to 1.
    inverse = torch.zeros(len(x), 2, 3, device=x.device)
    inverse[:, 0, 0] = both * cos - across * sin
    inverse[:, 0, 1] = (both * sin + across * cos) * (height / width)
    inverse[:, 1, 0] = (down * cos - sin) * (width / height)
    inverse[:, 1, 1] = down * sin + cos
    if mirrored is not None:
        inverse[:, 0] *= 1 - 2 * mirrored.view(-1, 1).float()
    grid = F.affine_grid(inverse, list(x.shape), align_corners=False)
    y = F.grid_sample(x.float(), grid, padding_mode="reflection", align_corners=False)
    y = y.round_().clamp_(0, 255)
    # Conversion through 16 bits takes two thirds of the time on a CPU.
    return y.to(torch.int16).to(x.dtype) if x.dtype == torch.uint8 else y.to(x.dtype)


def build_augment(chosen: Sequence[str] | Mapping[str, Any] | None) -> Augment | None:
    """Return an augmentation from names, at default amounts, or from a map of names to amounts.

    Raises:
        InnflowError: A name is unknown, or an amount out of range.
    """
    if not chosen:
        return None
    if isinstance(chosen, str):
        chosen = [chosen]
    amounts: dict[str, float] = {}
    for name in chosen:
        known = check_choice("augment", name, tuple(AMOUNTS))
        amount = chosen[name] if isinstance(chosen, Mapping) else AMOUNTS[known]
        if not is_number(amount, 0, _MOST[known]):
            raise InnflowError(
                f"data.augment.{known}={amount}: give a number above 0, at most {_MOST[known]:g}"
            )
        amounts[known] = float(amount)
    return Augment(amounts)
