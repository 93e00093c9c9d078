"""`log_prob` and `sample` of a flow: agreement with the application, contexts, bases, gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Independent, Laplace, StudentT

from innflow.app import Density
from innflow.flow import CouplingFlow, glow, vector


@pytest.fixture
def conditional() -> CouplingFlow:
    """A flow whose median is about 10 times the context."""
    flow = vector(2, depth=4, context=1, hidden=(8,), coupling="affine").double()
    y = torch.randn(500, 1).double()
    flow.initialise(torch.randn(500, 2).double(), y)
    generator = torch.Generator().manual_seed(0)
    for parameter in flow.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)
    return flow


def test_the_density_is_that_of_the_application():
    flow = glow((1, 4, 4), levels=2, depth=1, hidden=4)
    x = torch.randn(6, 1, 4, 4)
    torch.testing.assert_close(flow.log_prob(x), Density(flow).log_prob(x))
    assert flow.log_prob(x).requires_grad
    assert flow.sample(3).shape == (3, 1, 4, 4)


@pytest.mark.parametrize("base", [None, StudentT(5.0), Laplace(0.3, 2.0)])
def test_the_density_integrates_to_one(conditional, base):
    y, n = torch.tensor([0.7]).double(), 20_000
    with torch.no_grad():
        x = conditional.sample(n, y, base)
        # The mean of q / p over draws of p is the integral of q.
        center, scale = x.median(dim=0).values, x.std(dim=0)
        q = Independent(StudentT(3.0, center, scale), 1)
        proposals = q.sample((n,))
        log_prob = conditional.log_prob(proposals, y.expand(n, 1), base)
        ratios = (log_prob - q.log_prob(proposals)).exp()
        error = ratios.std() / math.sqrt(n)
    assert ratios.mean() == pytest.approx(1.0, abs=float(5 * error))
    assert error < 0.05


def test_each_row_of_the_context_has_its_own_samples(conditional):
    y = torch.tensor([[-2.0], [0.0], [2.0]]).double()
    with torch.no_grad():
        torch.manual_seed(0)
        rows = conditional.sample(50, y)
        torch.manual_seed(0)
        latent = torch.randn(150, 2, dtype=torch.float64)
    assert rows.shape == (3, 50, 2)
    for row, context, z in zip(rows, y, latent.split(50), strict=True):
        expected, _ = conditional.inverse(z, context.expand(50, 1))
        torch.testing.assert_close(row, expected)
    assert conditional.sample(50, y[0]).shape == (50, 2)


def test_a_joint_base_has_its_own_density(conditional):
    joint = torch.distributions.MultivariateNormal(
        torch.zeros(2).double(), torch.tensor([[1.0, 0.9], [0.9, 1.0]]).double()
    )
    y = torch.zeros(4, 1).double()
    x = torch.randn(4, 2).double()
    z, logabsdet = conditional(x, y)
    torch.testing.assert_close(conditional.log_prob(x, y, joint), joint.log_prob(z) + logabsdet)
    assert conditional.sample(5, y[0], joint).shape == (5, 2)
