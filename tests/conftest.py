"""What every test starts from, and how a refusal is checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
import torch

from innflow.errors import InnflowError

Refused = Callable[..., AbstractContextManager[None]]


@pytest.fixture(autouse=True)
def _seeded():
    """Give every test the same random numbers, alone or in company."""
    torch.manual_seed(0)


@pytest.fixture
def refused() -> Refused:
    """Return `refused(*fragments)`: the block raises one line that holds all the fragments."""

    @contextmanager
    def check(*fragments: str) -> Iterator[None]:
        with pytest.raises(InnflowError) as caught:
            yield
        line = str(caught.value)
        assert "\n" not in line
        assert all(fragment in line for fragment in fragments), line

    return check
