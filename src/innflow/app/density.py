"""Density estimation of vectors, and of images with generation (applications 1 and 2)."""

from typing import Any

from innflow.app.application import Unconditional
from innflow.app.preprocess import LEVELS, Dequantization
from innflow.errors import InnflowError


class Density(Unconditional):
    """Exact density, samples and latents of vectors x; [x] <-> [z].

    Example:
        >>> from innflow import flow
        >>> app = Density(flow.vector(2, depth=2, hidden=(8,)))
        >>> x = app.sample(5, seed=0)
        >>> app.log_prob(x).shape, app.encode(x).shape
        (torch.Size([5]), torch.Size([5, 2]))
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if set(self.partition.left) != {"x"} or set(self.partition.right) != {"z"}:
            raise InnflowError(f"{type(self).__name__}: needs x <-> z alone, not {self.partition}")


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
