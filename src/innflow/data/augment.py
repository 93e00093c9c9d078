"""Random variations of a whole batch of images, on the device where it lies."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from innflow.data.base import check_choice
from innflow.errors import InnflowError

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

    Args:
        amounts: Name -> amount. The flip is a probability; for the others the amount is drawn
            uniformly between minus and plus it (degrees; a zoom of 0.1 is 0.9 to 1.1).
    """

    def __init__(self, amounts: Mapping[str, float]) -> None:
        super().__init__()
        self.amounts = dict(amounts)
        zoom, shear, rotate = (self.amounts.get(key, 0.0) for key in ("zoom", "shear", "rotate"))
        self.affine: nn.Module | None = None
        if zoom or shear or rotate:
            # Imported here: it takes a second, and most uses of the package need none of it.
            from kornia.augmentation import RandomAffine

            self.affine = RandomAffine(
                degrees=rotate,
                scale=(1 - zoom, 1 + zoom),
                shear=torch.tensor([-shear, shear, -shear, shear]),
                padding_mode="reflection",
                p=1.0,
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return images (B, C, H, W), 0 to 255, varied one by one, in the type they came in."""
        if "flip" in self.amounts:
            mirrored = torch.rand(len(x), 1, 1, 1, device=x.device) < self.amounts["flip"]
            x = torch.where(mirrored, x.flip(-1), x)
        if self.affine is not None:
            x = self.affine(x.float()).round().clamp(0, 255).to(x.dtype)
        if "resample" in self.amounts:
            chosen = torch.rand(x.shape, device=x.device) < self.amounts["resample"]
            x = torch.where(chosen, torch.randint_like(x, 256), x)
        return x

    def extra_repr(self) -> str:
        """Return the amounts, for repr."""
        return ", ".join(f"{name}={amount:g}" for name, amount in self.amounts.items())


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
