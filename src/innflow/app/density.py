"""Density estimation of vectors (application 1)."""

from typing import Any

from innflow.app.application import Unconditional
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
            raise InnflowError(f"{type(self).__name__}: takes x <-> z alone, not {self.partition}")
