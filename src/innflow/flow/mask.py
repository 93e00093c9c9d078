"""Spatial masks of couplings on images, true at the pixels that stay and condition the others."""

from typing import Literal

import torch
from torch import Tensor

from innflow.errors import InnflowError

MaskName = Literal["checkerboard", "horizontal", "vertical", "cycle"]


def checkerboard(height: int, width: int, flip: bool = False) -> Tensor:
    """Return every second pixel, (1, H, W); `flip` gives the other colour (arXiv:1605.08803)."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None, :]
    return ((rows + columns) % 2 == int(flip))[None]


def horizontal(height: int, width: int, flip: bool = False) -> Tensor:
    """Return the top half, (1, H, W); `flip` gives the bottom half, with the odd row."""
    top = (torch.arange(height) < height // 2)[:, None].expand(height, width)
    return (top != flip)[None]


def vertical(height: int, width: int, flip: bool = False) -> Tensor:
    """Return the left half, (1, H, W); `flip` gives the right half, with the odd column."""
    return horizontal(width, height, flip).mT.contiguous()


def quadrant(height: int, width: int, index: int) -> Tensor:
    """Return quadrant 0, 1, 2 or 3, (1, H, W): clockwise from the top left."""
    return horizontal(height, width, index in (2, 3)) & vertical(height, width, index in (1, 2))


def mask_pairs(masks: MaskName, height: int, width: int) -> list[tuple[Tensor, Tensor]]:
    """Return one round of masks: conditioning and changed pixels of each coupling, both (1, H, W).

    The two halves of `checkerboard`, `horizontal` and `vertical` alternate. `cycle` (Kirichenko et
    al., arXiv:2006.08545) conditions on one quadrant and changes the next one clockwise, so that
    only pixels along a border are predicted from their neighbours.

    Raises:
        InnflowError: if there is no such mask, or the image is too small to be divided.
    """
    halves = {"checkerboard": checkerboard, "horizontal": horizontal, "vertical": vertical}
    if masks == "cycle":
        parts = [quadrant(height, width, index) for index in range(4)]
    elif masks in halves:
        parts = [halves[masks](height, width, flip) for flip in (False, True)]
    else:
        known = ", ".join((*halves, "cycle"))
        raise InnflowError(f"masked flow: masks={masks!r} is unknown: must be one of {known}")
    if not all(part.any() for part in parts):
        raise InnflowError(f"masked flow: {height}x{width} cannot be divided by masks={masks}")
    return list(zip(parts, parts[1:] + parts[:1], strict=True))
