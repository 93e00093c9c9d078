"""Density estimation and generation of images (application 2)."""

from typing import Any

from innflow.app.density import Density
from innflow.app.preprocess import LEVELS, Dequantization


class Generation(Density):
    """Density, samples and latents of images of integer grey levels; [x] <-> [z].

    `log_prob` is in nats per image, see `Dequantization`.

    Args:
        levels: number of grey levels, 256 for 8-bit images. The other arguments are those of
            `FlowModule`.

    Example:
        >>> from innflow import flow
        >>> app = Generation(flow.glow((1, 4, 4), levels=1, depth=1, hidden=4))
        >>> app.sample(2, seed=0).dtype
        torch.uint8
    """

    def __init__(self, *args: Any, levels: int = LEVELS, **kwargs: Any) -> None:
        super().__init__(*args, preprocessing=Dequantization(levels), **kwargs)
