"""States of the random number generators, as tensors and numbers for a checkpoint."""

import random
from typing import Any

import numpy as np
import torch

State = dict[str, Any]


def random_state() -> State:
    """Return the states of the generators of Python, NumPy, torch and the current CUDA device."""
    words: Any
    kind, words, position, has_gauss, gauss = np.random.get_state(legacy=True)
    return {
        "python": random.getstate(),
        "numpy": (str(kind), torch.from_numpy(words.astype(np.int64)), position, has_gauss, gauss),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None,
    }


def set_random_state(state: State) -> None:
    """Restore the states of all generators."""
    version, keys, gauss = state["python"]
    random.setstate((version, tuple(keys), gauss))
    kind, words, *rest = state["numpy"]
    np.random.set_state((kind, words.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(state["cuda"])


def random_states(ranks: int) -> list[State]:
    """Return the states of all ranks; a collective operation that every rank must call."""
    mine = random_state()
    if ranks == 1:
        return [mine]
    states: list[Any] = [None] * ranks
    torch.distributed.all_gather_object(states, mine)
    return states
