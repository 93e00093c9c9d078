from __future__ import annotations

import math
from typing import ClassVar

import pytest
import torch
from torch.distributions import (
    AffineTransform,
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    Dirichlet,
    Distribution,
    ExpTransform,
    Gamma,
    Gumbel,
    HalfNormal,
    Independent,
    LKJCholesky,
    LogNormal,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    Pareto,
    Poisson,
    TransformedDistribution,
    Uniform,
    constraints,
)

from innflow.data.simulation.support import Support, check_varied, given_support, support_of
from innflow.errors import InnflowError
from innflow.problem.joint import Joint

INF = math.inf
ENDS = torch.tensor([1.0, 2.0, 3.0])
NORMAL = Normal(torch.zeros(3), 1.0)
MIXED = Joint([Normal(0.0, 1.0), Uniform(-2.0, 2.0), Poisson(4.0), LogNormal(0.0, 1.0)])


class Stacked(Distribution):
    support = constraints.stack([constraints.positive, constraints.boolean], -1)

    def __init__(self):
        super().__init__(event_shape=torch.Size([2]), validate_args=False)

    def sample(self, shape=()):
        return torch.stack([torch.rand(shape), torch.rand(shape).round()], -1)


CASES = {
    "normal": (Independent(NORMAL, 1), -INF, INF, False),
    "multivariate": (MultivariateNormal(torch.zeros(3), torch.eye(3)), -INF, INF, False),
    "box": (Independent(Uniform(-ENDS, ENDS), 1), -ENDS, ENDS, False),
    "a batch of uniforms": (Uniform(-ENDS, ENDS), -ENDS, ENDS, False),
    "positive": (Independent(Gamma(ENDS, 1.0), 1), 0.0, INF, False),
    "half normal": (Independent(HalfNormal(ENDS), 1), 0.0, INF, False),
    "unit": (Independent(Beta(ENDS, ENDS), 1), 0.0, 1.0, False),
    "pareto": (Independent(Pareto(ENDS, 1.0), 1), ENDS, INF, False),
    "gumbel": (Gumbel(0.0, 1.0), -INF, INF, False),
    "poisson": (Independent(Poisson(ENDS), 1), 0.0, INF, True),
    "binomial": (Independent(Binomial(ENDS, torch.tensor(0.5)), 1), 0.0, ENDS, True),
    "coin": (Bernoulli(0.5), 0.0, 1.0, True),
    "categories": (Categorical(torch.ones(4)), 0.0, 3.0, True),
    "joint": (MIXED, [-INF, -2.0, 0.0, 0.0], [INF, 2.0, INF, INF], [False, False, True, False]),
    "joints": (
        Joint([Independent(Uniform(-ENDS, ENDS), 1), MIXED]),
        [-1.0, -2.0, -3.0, -INF, -2.0, 0.0, 0.0],
        [1.0, 2.0, 3.0, INF, 2.0, INF, INF],
        [False] * 5 + [True, False],
    ),
    "stacked": (Stacked(), 0.0, [INF, 1.0], [False, True]),
    "log-uniform": (
        TransformedDistribution(Uniform(-ENDS, ENDS), ExpTransform()),
        (-ENDS).exp(),
        ENDS.exp(),
        False,
    ),
    "turned round": (
        TransformedDistribution(Gamma(2.0, 1.0), AffineTransform(5.0, -2.0)),
        -INF,
        5.0,
        False,
    ),
    "mixture": (
        MixtureSameFamily(
            Categorical(torch.ones(2)),
            Independent(
                Uniform(torch.tensor([[0.0, 1], [3, 0]]), torch.tensor([[1.0, 2], [4, 9]])), 1
            ),
        ),
        0.0,
        [4.0, 9.0],
        False,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_bounds_are_those_of_the_distribution_and_hold_its_draws(name):
    prior, low, high, discrete = CASES[name]
    torch.manual_seed(0)
    x = prior.sample((2000,)).reshape(2000, -1).float()
    support = support_of(prior, x.shape[1])
    dims = (x.shape[1],)
    assert torch.allclose(support.low, torch.as_tensor(low).broadcast_to(dims))
    assert torch.allclose(support.high, torch.as_tensor(high).broadcast_to(dims))
    assert torch.equal(support.discrete, torch.as_tensor(discrete).broadcast_to(dims))
    assert support.low.dtype == support.high.dtype == torch.float32
    assert support.contains(x).all()


@pytest.mark.parametrize(
    "prior",
    [
        Dirichlet(torch.ones(3)),
        LKJCholesky(3),
        OneHotCategorical(torch.ones(3)),
        Joint([Normal(0.0, 1.0), Dirichlet(torch.ones(3))]),
    ],
    ids=["simplex", "cholesky", "one hot", "within a joint"],
)
def test_parameters_that_depend_on_each_other_are_refused(prior):
    with pytest.raises(InnflowError, match=r"not an interval for each parameter.*data\.support"):
        support_of(prior, 4)


def test_a_prior_that_does_not_tell_may_lie_anywhere():
    class Own:
        def sample(self, shape):
            return torch.zeros(*shape, 2)

    class OwnDistribution(Distribution):
        arg_constraints: ClassVar[dict] = {}

    for prior in (Own(), OwnDistribution()):
        support = support_of(prior, 2)
        assert support.low.tolist() == [-INF, -INF]
        assert support.high.tolist() == [INF, INF]


def test_given_intervals():
    support = given_support([[0, None], [-1.5, 1], [None, None]], 3)
    assert support.low.tolist() == [0.0, -1.5, -INF]
    assert support.high.tolist() == [INF, 1.0, INF]
    assert not support.discrete.any()


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        ([[0, 1]], "1 intervals for 2 parameters"),
        ([[0, 1], [2, 1]], r"\[2, 1\] is empty"),
        ([[0, 1], [2]], r"\[2\] is not \[low, high\]"),
    ],
)
def test_intervals_that_do_not_fit(pairs, says):
    with pytest.raises(InnflowError, match=says):
        given_support(pairs, 2)


def test_what_lies_outside_is_named():
    support = Support(
        torch.tensor([0.0, -INF]), torch.tensor([1.0, INF]), torch.tensor([False, True])
    )
    support.check(torch.tensor([[0.0, -3.0], [1.0, 7.0]]), ["a", "b"])
    with pytest.raises(InnflowError, match=r"parameter a has the value 1\.5, .* from 0 to 1"):
        support.check(torch.tensor([[0.5, 2.0], [1.5, 2.0]]), ["a", "b"])
    with pytest.raises(InnflowError, match=r"parameter b has the value 2\.5, .* integers"):
        support.check(torch.tensor([[0.5, 2.5]]), ["a", "b"])
    with pytest.raises(InnflowError, match="parameter a has the value nan"):
        support.check(torch.tensor([[math.nan, 2.0]]), ["a", "b"])


def test_a_constant_column_is_named():
    values = torch.tensor([[1.0, 2.0], [3.0, 2.0]])
    check_varied(values[:, :1], ["a"], "all rows")
    with pytest.raises(InnflowError, match="b is 2 in all rows"):
        check_varied(values, ["a", "b"], "all rows")
