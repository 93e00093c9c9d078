"""Preprocessing: data units to the units of the flow, and back."""

import math

import torch
from torch import Tensor

from innflow.errors import InnflowError
from innflow.system.ranks import Noise, draw_within_bins

LEVELS = 256


class Preprocessing:
    """Identity preprocessing of vectors, and the base class of others.

    Attributes:
        levels: number of grey levels, where the data are images.
    """

    levels: int = LEVELS

    def preprocess(self, x: Tensor, noise: Noise) -> Tensor:
        """Return floating data (B, ...) in the units of the flow."""
        return x

    def postprocess(self, x: Tensor) -> Tensor:
        """Return values of the flow in data units, as floating numbers."""
        return x

    def quantize(self, x: Tensor) -> Tensor:
        """Return samples in data units, converted to the data type of the data set."""
        return x

    def log_volume(self, dims: int) -> float:
        """Return the log, in nats, of the factor by which `preprocess` shrinks volumes."""
        return 0.0


class Dequantization(Preprocessing):
    """Uniform dequantization of images: a grey level v becomes (v + u) / levels - 1/2.

    With u uniform on [0, 1), the mean log-likelihood is a lower bound of that of the discrete image
    (Theis et al., arXiv:1511.01844). If `noise` is None, u is 1/2, the bin centre: this is
    repeatable, as anomaly scores require, but gives no bound. The log volume converts the density
    to nats of the discrete image; bits per dim are -log_prob / (D ln 2).

    Args:
        levels: number of grey levels, 2 to 256.
    """

    def __init__(self, levels: int = LEVELS) -> None:
        if not 2 <= levels <= LEVELS:
            raise InnflowError(f"app: levels={levels}: must be an integer from 2 to {LEVELS}")
        self.levels = levels

    def preprocess(self, x: Tensor, noise: Noise) -> Tensor:
        """Dequantize grey levels to [-1/2, 1/2)."""
        return (x + draw_within_bins(x, noise)) / self.levels - 0.5

    def postprocess(self, x: Tensor) -> Tensor:
        """Return grey levels, neither rounded nor clipped; bin centres become integers."""
        return (x + 0.5) * self.levels - 0.5

    def quantize(self, x: Tensor) -> Tensor:
        """Round and clip grey levels to uint8."""
        return x.round().clamp(0, self.levels - 1).to(torch.uint8)

    def log_volume(self, dims: int) -> float:
        """Return D ln levels: the bin of a grey level has the width 1 / levels in the flow."""
        return dims * math.log(self.levels)
