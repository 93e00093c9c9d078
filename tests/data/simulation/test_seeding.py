from __future__ import annotations

import random
from types import ModuleType

import numpy as np
import pytest
import torch

from innflow.data.simulation.seeding import seeded

SOURCES = {
    "torch": lambda own: torch.rand(3).tolist(),
    "numpy": lambda own: np.random.rand(3).tolist(),
    "python": lambda own: [random.random() for _ in range(3)],
    "its generator": lambda own: own.rng.random(3).tolist(),
    "its old generator": lambda own: own.old.rand(3).tolist(),
    "its torch generator": lambda own: torch.rand(3, generator=own.torch_rng).tolist(),
    "its python generator": lambda own: [own.py.random() for _ in range(3)],
}


@pytest.fixture
def own():
    module = ModuleType("own")
    module.rng = np.random.default_rng(0)
    module.old = np.random.RandomState(0)
    module.torch_rng = torch.Generator().manual_seed(0)
    module.py = random.Random(0)
    return module


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_repeats_with_the_seed_and_goes_on_as_before(own, name):
    draw = SOURCES[name]
    with seeded([1], [own]):
        first = draw(own)
    with seeded([1], [own]):
        assert draw(own) == first
    with seeded([2], [own]):
        assert draw(own) != first
    with seeded([9], [own]):
        undisturbed = draw(own)
        with seeded([1], [own]):
            draw(own)
        rest = draw(own)
    with seeded([9], [own]):
        assert draw(own) + draw(own) == undisturbed + rest


def test_no_two_sources_draw_the_same(own):
    with seeded([0, 0], [own]):
        draws = [tuple(draw(own)) for draw in SOURCES.values()]
    assert len(set(draws)) == len(draws)


def test_a_seed_is_not_that_of_a_longer_one_with_a_zero(own):
    with seeded([5], [own]):
        short = {name: draw(own) for name, draw in SOURCES.items()}
    with seeded([5, 0], [own]):
        assert all(draw(own) != short[name] for name, draw in SOURCES.items())
