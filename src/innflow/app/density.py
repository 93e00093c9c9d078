"""Density: vectors to a latent and back. Application 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from innflow.app.questions import Application
from innflow.errors import InnflowError


class Density(Application):
    """Exact density, samples and latents of vectors x; [x] <-> [z]."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if set(self.partition.left) != {"x"} or set(self.partition.right) != {"z"}:
            raise InnflowError(f"{type(self).__name__}: takes x <-> z alone, not {self.partition}")

    def observe(
        self, batch: Mapping[str, Tensor], noise: torch.Generator | None
    ) -> dict[str, Tensor]:
        """Take vectors as they are."""
        return {"x": batch["x"].to(self.parameter_dtype)}

    def restore(self, parts: Mapping[str, Tensor]) -> Tensor:
        """Give vectors as they are."""
        return parts["x"]
