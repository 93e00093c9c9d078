import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import (
    Exponential,
    Independent,
    MultivariateNormal,
    Normal,
    Poisson,
    Uniform,
)

from innflow.problem import Joint

PLANE = MultivariateNormal(torch.tensor([1.0, 2.0]), torch.tensor([[1.0, 0.8], [0.8, 2.0]]))


@pytest.fixture
def joint():
    box = Independent(Uniform(torch.zeros(2), torch.tensor([1.0, 3.0])), 1)
    return Joint([Normal(5.0, 0.1), PLANE, Poisson(15.0), box])


def test_log_density_is_the_sum_over_the_columns(joint):
    x = joint.sample((7,))
    exact = (
        stats.norm(5, 0.1).logpdf(x[:, 0])
        + stats.multivariate_normal(PLANE.mean, PLANE.covariance_matrix).logpdf(x[:, 1:3])
        + stats.poisson(15).logpmf(x[:, 3])
        - np.log(3)
    )
    assert joint.log_prob(x).numpy() == pytest.approx(exact, rel=1e-4)
    assert torch.equal(joint.log_prob(x[0]), joint.log_prob(x)[0])


def test_draws_have_the_moments_and_stay_within_the_support(joint):
    assert joint.event_shape == (6,)
    assert joint.sample().shape == (6,)
    assert joint.sample((2, 3)).shape == (2, 3, 6)
    x = joint.sample((40_000,))
    assert torch.allclose(joint.mean, torch.tensor([5, 1, 2, 15, 0.5, 1.5]))
    assert torch.allclose(joint.stddev**2, torch.tensor([0.01, 1, 2, 15, 1 / 12, 9 / 12]))
    assert ((x.mean(dim=0) - joint.mean) / joint.stddev).abs().max() < 0.03
    assert (x.std(dim=0) / joint.stddev - 1).abs().max() < 0.03
    # Columns of one distribution keep their correlation, those of two have none.
    correlation = torch.corrcoef(x.T)
    assert correlation[1, 2] == pytest.approx(0.8 / np.sqrt(2), abs=0.02)
    correlation[1, 2] = correlation[2, 1] = 0
    assert (correlation - torch.eye(6)).abs().max() < 0.03
    assert joint.support.check(x).all()


def test_support_tells_the_columns_apart(joint):
    x = torch.tensor([-9.0, -9.0, -9.0, 4.0, 0.5, 2.5])
    assert joint.support.check(x).all()
    wrong = torch.tensor([0.0, 0.0, 0.0, 4.5, 1.5, -0.5])
    assert joint.support.check(wrong).tolist() == [True, True, True, False, False, False]


def test_double_precision_is_kept():
    one = torch.tensor(1.0, dtype=torch.float64)
    joint = Joint([Exponential(one), Normal(0 * one, one)])
    x = joint.sample((3,))
    assert x.dtype == joint.log_prob(x).dtype == torch.float64
    exact = stats.expon.logpdf(x[:, 0]) + stats.norm.logpdf(x[:, 1])
    assert joint.log_prob(x).numpy() == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize(
    ("distributions", "fragment"),
    [
        ([], "empty"),
        ([Normal(0.0, 1.0), Normal(torch.zeros(2), torch.ones(2))], "distributions[1]"),
        ([Independent(Normal(torch.zeros(2, 2), 1.0), 2)], "distributions[0]"),
    ],
)
def test_what_is_no_row_of_columns_is_refused(refused, distributions, fragment):
    with refused("Joint", fragment):
        Joint(distributions)
