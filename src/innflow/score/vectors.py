"""The vectors that distance scores look at: the items themselves, or their latents."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

from innflow.errors import InnflowError
from innflow.score.base import Measured

Of = Literal["data", "latent"]
VECTORS: Mapping[str, Callable[[Measured], np.ndarray]] = {
    "data": lambda items: items.data,
    "latent": lambda items: items.latent,
}


def vectors(items: Measured, of: str) -> np.ndarray:
    """Return one float32 vector an item, (N, D): flattened data or latents.

    Raises:
        InnflowError: if `of` names neither.
    """
    if of not in VECTORS:
        raise InnflowError(f"of={of}: takes {' or '.join(VECTORS)}")
    chosen = VECTORS[of](items)
    size = math.prod(chosen.shape[1:])  # -1 would not do for no items
    return np.asarray(chosen.reshape(len(chosen), size), dtype=np.float32)
