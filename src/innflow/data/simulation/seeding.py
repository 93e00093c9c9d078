"""One seed for all random number generators that a user's code may use."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import torch

Handles = tuple[Callable[[], Any], Callable[[Any], Any], Callable[[int], Any]]
"""Functions that read, restore and seed a generator."""


@contextmanager
def seeded(seed: Sequence[int], modules: Sequence[ModuleType] = ()) -> Iterator[None]:
    """Seed all generators that a prior or forward model may use, and restore them afterwards.

    Args:
        seed: Integers, not negative.
        modules: Modules with generators of their own (`rng = np.random.default_rng(0)`), which are
            seeded too; otherwise all worker processes would draw the same noise.
    """
    generators = list(_generators(modules))
    states = [get() for get, _, _ in generators]
    # Numbers start at 1: SeedSequence ignores trailing zeros.
    for number, (_, _, start) in enumerate(generators, start=1):
        start(int(np.random.SeedSequence([*seed, number]).generate_state(1)[0]))
    try:
        yield
    finally:
        for (_, restore, _), state in zip(generators, states, strict=True):
            restore(state)


def _generators(modules: Sequence[ModuleType]) -> Iterator[Handles]:
    """Yield the handles of the global generators and of those of modules."""
    yield torch.get_rng_state, torch.set_rng_state, torch.manual_seed
    yield np.random.get_state, np.random.set_state, np.random.seed
    yield random.getstate, random.setstate, random.seed
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, torch.Generator):
                yield value.get_state, value.set_state, value.manual_seed
            elif isinstance(value, np.random.RandomState):
                yield value.get_state, value.set_state, value.seed
            elif isinstance(value, random.Random):
                yield value.getstate, value.setstate, value.seed
            elif isinstance(value, np.random.Generator):
                bits = value.bit_generator
                yield partial(getattr, bits, "state"), partial(setattr, bits, "state"), _seed(bits)


def _seed(bits: np.random.BitGenerator) -> Callable[[int], None]:
    def start(seed: int) -> None:
        bits.state = type(bits)(seed).state

    return start
