from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from data.own import write_module
from innflow.data.simulation.noise import add_noise, draw_noise, noise_factor
from innflow.errors import InnflowError

LOWER = [[1.0, 0.0], [0.5, 2.0]]


@pytest.mark.parametrize(
    ("noise", "factor"),
    [
        (0.5, [[0.5, 0.0], [0.0, 0.5]]),
        ([1, 2], [[1.0, 0.0], [0.0, 2.0]]),
        (LOWER, LOWER),
        ("mymodule.ARRAY", LOWER),
        ("mymodule.TENSOR", LOWER),
        ("mymodule.NUMBER", [[3.0, 0.0], [0.0, 3.0]]),
    ],
)
def test_a_number_numbers_or_a_factor(monkeypatch, tmp_path, noise, factor):
    source = f"""
    import numpy, torch
    NUMBER = 3
    ARRAY = numpy.array({LOWER})
    TENSOR = torch.tensor({LOWER})
    """
    write_module(monkeypatch, tmp_path, source)
    assert np.array_equal(noise_factor(noise, 2), factor)


def test_none(monkeypatch, tmp_path):
    write_module(monkeypatch, tmp_path, "NOISE = None")
    assert noise_factor(None, 2) is None
    assert noise_factor("mymodule.NOISE", 2) is None


@pytest.mark.parametrize(
    ("noise", "says"),
    [
        ([1, 2, 3], "has the shape (3,) for 2 observables"),
        ([[1.0, 0.0]], "has the shape (1, 2)"),
        ([[1.0], [1.0, 2.0]], "not numbers"),
        (0, "must be positive"),
        ([1, -1], "must be positive"),
        (float("nan"), "must be positive and finite"),
        ([[1.0, 0.5], [0.5, 2.0]], "not lower triangular: give numpy.linalg.cholesky"),
        ([[1.0, 0.0], [0.5, 0.0]], "must be positive"),
    ],
)
def test_noise_that_is_none(noise, says):
    with pytest.raises(InnflowError, match=re.escape(says)):
        noise_factor(noise, 2)


def test_noise_has_the_covariance_of_its_factor():
    factor = np.array(LOWER)
    eps = draw_noise((200_000, 2), [0, 1])
    y = add_noise(torch.zeros(200_000, 2), factor, eps)
    assert np.allclose(np.cov(y.T), factor @ factor.T, atol=0.05)
    assert torch.equal(eps, draw_noise((200_000, 2), [0, 1]))
    assert not torch.equal(eps[:5], draw_noise((5, 2), [0, 2]))
