"""Generation: images of whole grey levels to a latent and back. Application 2."""

from __future__ import annotations

from typing import Any

from innflow.app.density import Density
from innflow.app.preprocess import LEVELS, Pixels


class Generation(Density):
    """Density, samples and latents of images; [x] <-> [z].

    `log_prob` is in nats per image of whole grey levels, see `Pixels`.

    Args:
        args: as for `FlowModule`.
        levels: number of grey levels, 256 for 8-bit images.
        kwargs: as for `FlowModule`.
    """

    def __init__(self, *args: Any, levels: int = LEVELS, **kwargs: Any) -> None:
        super().__init__(*args, units=Pixels(levels), **kwargs)
