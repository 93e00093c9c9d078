"""Spatial masks for couplings on images: true where a pixel stays and conditions the others."""

from __future__ import annotations

import torch
from torch import Tensor


def checkerboard(height: int, width: int, flip: bool = False) -> Tensor:
    """Return every second pixel, (1, H, W); `flip` gives the other colour (arXiv:1605.08803)."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None, :]
    return ((rows + columns) % 2 == int(flip))[None]
