"""Density: vectors to a latent and back. Application 1."""

from __future__ import annotations

from typing import Any

from innflow.app.application import Unconditional
from innflow.errors import InnflowError


class Density(Unconditional):
    """Exact density, samples and latents of vectors x; [x] <-> [z]."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if set(self.partition.left) != {"x"} or set(self.partition.right) != {"z"}:
            raise InnflowError(f"{type(self).__name__}: takes x <-> z alone, not {self.partition}")
