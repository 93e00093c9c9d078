"""Draws and items of all ranks together are those of one process."""

from __future__ import annotations

import pytest
import torch

from innflow.app.posterior.coordinates import Unconstrained
from innflow.app.posterior.trials import shuffle_trials
from innflow.app.preprocess import Dequantization
from innflow.data.image.augment import build_augment
from innflow.data.image.digits import shift_images
from innflow.latent.density import StandardNormal
from innflow.system.ranks import rand, randint, randn, shared_draws, shares


def whole_numbers() -> Unconstrained:
    """Return coordinates of four parameters that are integers from 0 to 9."""
    units = Unconstrained(4)
    units.low.zero_()
    units.high.fill_(9.0)
    units.discrete.fill_(True)
    return units


DRAWS = {
    "rand": lambda x: rand(x.shape, batch_axis=0),
    "randn": lambda x: randn(x.shape, batch_axis=0, dtype=torch.float64),
    "randint": lambda x: randint(9, (2, len(x)), batch_axis=1).T,
    "a generator": lambda x: rand((len(x), 1), batch_axis=0, generator=torch.default_generator),
    "items last": lambda x: rand((4, 8, len(x)), batch_axis=-1).movedim(-1, 0),
    "items in the middle": lambda x: randn((8, len(x), 4), batch_axis=1).movedim(1, 0),
    "warp": lambda x: build_augment({"rotate": 90.0, "zoom": 0.5, "shear": 30.0})(x),
    "flip": lambda x: build_augment(["flip"])(x),
    "resample": lambda x: build_augment({"resample": 0.5})(x),
    "shift": lambda x: shift_images(x, 2),
    "dequantization": lambda x: Dequantization().preprocess(x.float(), torch.default_generator),
    "latent": lambda x: StandardNormal().sample(x.float()),
    "trials": lambda x: shuffle_trials(x.flatten(1)[:, :16], 4, torch.default_generator),
    "integers": lambda x: whole_numbers()(x[:, 0, 0, :4] % 10.0, torch.default_generator)[0],
}


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize("items", [2, 4, 8])
@pytest.mark.parametrize("name", DRAWS)
def test_the_draws_of_all_ranks_are_those_of_one_process(name, items, ranks):
    """Other axes have 2, 4 and 8 entries too: as many as the items of a rank or of all ranks."""
    draw = DRAWS[name]
    x = torch.randint(256, (items * ranks, 2, 8, 8), dtype=torch.uint8)
    torch.manual_seed(4)
    expected, after = draw(x), torch.rand(())
    found = []
    for rank in range(ranks):
        torch.manual_seed(4)
        with shared_draws(rank, ranks):
            found.append(draw(x[items * rank : items * rank + items]))
        assert torch.equal(torch.rand(()), after)
    assert torch.equal(torch.cat(found), expected)


@pytest.mark.parametrize(
    ("draw", "plain"),
    [
        (lambda x: rand(x.shape, batch_axis=0), lambda x: torch.rand_like(x)),
        (lambda x: randn(x.shape, batch_axis=0), lambda x: torch.randn_like(x)),
        (
            lambda x: randint(256, x.shape, batch_axis=0, dtype=torch.uint8),
            lambda x: torch.randint_like(x, 256, dtype=torch.uint8),
        ),
    ],
)
def test_one_process_draws_what_torch_draws(draw, plain):
    x = torch.zeros(5, 3, 7)
    torch.manual_seed(4)
    expected = plain(x)
    torch.manual_seed(4)
    assert torch.equal(draw(x), expected)


def test_an_error_ends_the_sharing():
    with pytest.raises(ZeroDivisionError), shared_draws(1, 2):
        raise ZeroDivisionError
    torch.manual_seed(4)
    expected = torch.rand(6)
    torch.manual_seed(4)
    assert torch.equal(rand((6,), batch_axis=0), expected)


@pytest.mark.parametrize(("ranks", "count"), [(1, 7), (2, 7), (2, 31), (3, 64), (4, 5), (8, 3)])
def test_shares_leave_nothing_out_and_repeat_nothing(ranks, count):
    parted = [shares(count, 8, rank, ranks) for rank in range(ranks)]
    assert len({len(batches) for batches in parted}) == 1
    assert all(batch for batches in parted for batch in batches)
    rows = [row for batches in parted for batch in batches for row in batch]
    assert sorted(rows) == sorted(list(range(count)) * (ranks if count < ranks else 1))
