from __future__ import annotations

import math
import pickle
import re

import pytest
import torch
from torch.distributions import Independent

from data.own import write_module
from innflow.data.simulation.prior import Prior
from innflow.data.simulation.support import support_of
from innflow.errors import InnflowError

SOURCE = """
import numpy as np
import torch
from scipy import stats
from torch.distributions import Exponential, Normal, Uniform, MultivariateNormal, Independent
box = Independent(Uniform(-torch.ones(3), torch.ones(3)), 1)
batch = Uniform(-torch.ones(3), torch.ones(3))
single = Normal(5.0, 1.0)
double = Independent(Normal(torch.zeros(2).double(), 1), 1)
def factory(): return box
rng = np.random.default_rng(0)
class Own:
    def sample(self, shape): return rng.standard_normal((*shape, 2))
class Instance(Own):
    def __call__(self): raise RuntimeError("called")
own = Own()
frozen = stats.norm([0.0, 5.0], [1.0, 2.0])
scalar = stats.uniform(2.0, 3.0)
vector = stats.multivariate_normal([1.0, 2.0], [[2.0, 0.5], [0.5, 1.0]])
counts = stats.poisson(3.0)
bounds = {"a": [0, 5], "b": [-1, 1]}
def makes_frozen(): return scalar
half = Exponential(2.0)
class Dense(Own):
    def log_prob(self, x): return -x.square().sum(1) / 2
class Bad(Own):
    def log_prob(self, x): raise ArithmeticError("no density")
instance = Instance()
class Flat:
    def sample(self, shape): return np.random.rand(*shape)
class Needs:
    def __init__(self, scale): pass
    def sample(self, shape): pass
settings = {"a": 1}
def broken(): raise KeyError("scale")
def makes_dict(): return {}
class Matrix:
    def sample(self, shape): return torch.rand(*shape, 2, 2)
class Short:
    def sample(self, shape): return torch.rand(1, 2)
class Nan:
    def sample(self, shape): return torch.full((*shape, 2), float("nan"))
class Raises:
    def sample(self, shape): raise OSError("no table")
class Integer:
    def sample(self, n): return torch.rand(int(n), 2)
"""


@pytest.fixture(autouse=True)
def own(monkeypatch, tmp_path):
    write_module(monkeypatch, tmp_path, SOURCE)


@pytest.mark.parametrize(
    ("name", "dims"),
    [
        ("box", 3),
        ("batch", 3),
        ("single", 1),
        ("double", 2),
        ("factory", 3),
        ("own", 2),
        ("Own", 2),
        ("instance", 2),
        ("Flat", 1),
        ("frozen", 2),
        ("scalar", 1),
        ("vector", 2),
        ("counts", 1),
        ("bounds", 2),
        ("makes_frozen", 1),
    ],
)
def test_draws_are_vectors_that_the_seed_decides(name, dims):
    prior = Prior(f"mymodule.{name}")
    assert prior.dims == dims
    x = prior.draw(50, [1])
    assert x.shape == (50, dims)
    assert x.dtype == torch.float32
    assert torch.equal(x, prior.draw(50, [1]))
    assert not torch.equal(x, prior.draw(50, [2]))
    again = pickle.loads(pickle.dumps(prior))
    assert torch.equal(again.draw(50, [1]), x)


def test_a_batch_of_a_distribution_becomes_its_event():
    for name, dims in (("batch", 3), ("single", 1)):
        value = Prior(f"mymodule.{name}").value
        assert isinstance(value, Independent)
        assert value.log_prob(torch.zeros(7, dims)).shape == (7,)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("settings", "a is 1, expected [low, high] with low < high"),
        ("makes_dict", "has no parameter: give {name: [low, high]}"),
        ("broken", "a function that raises KeyError: 'scale' where it is called without arguments"),
        ("Needs", "a class that raises TypeError"),
        ("Normal", "a class that raises TypeError"),
        ("Matrix", "sample((2,)) returns the shape (2, 2, 2), expected (2, P)"),
        ("Short", "sample((2,)) returns the shape (1, 2), expected (2, P)"),
        ("Nan", "draws parameters that are NaN or infinite"),
        ("Raises", "sample((2,)) raises OSError: no table"),
        ("Integer", "sample((2,)) raises TypeError"),
        ("boxx", "module mymodule has no attribute boxx; did you mean box?"),
    ],
)
def test_what_is_no_prior_is_refused_with_the_reason(name, says):
    with pytest.raises(InnflowError, match=re.escape(says)) as caught:
        Prior(f"mymodule.{name}")
    assert str(caught.value).startswith(f"data.prior=mymodule.{name}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "raised", ["SystemExit", "SystemExit(3)", "GeneratorExit", "BaseException('odd')"]
)
def test_a_prior_that_ends_the_process_is_refused(raised, tmp_path, monkeypatch, refused):
    monkeypatch.syspath_prepend(tmp_path)
    name = f"ends_{abs(hash(raised))}"
    code = f"class P:\n    def sample(self, shape):\n        raise {raised}\nprior = P()\n"
    (tmp_path / f"{name}.py").write_text(code)
    with refused(f"data.prior={name}.prior", raised.partition("(")[0]):
        Prior(f"{name}.prior")


@pytest.mark.parametrize(
    ("name", "inside", "log_prob", "outside"),
    [
        ("box", [0.5, 0.0, -1.0], -3 * math.log(2), [0.5, 2.0, 0.0]),
        ("half", [1.0], math.log(2) - 2, [-1.0]),
        ("frozen", [0.0, 5.0], -math.log(4 * math.pi), None),
        ("scalar", [2.5], -math.log(3), [1.9]),
        ("vector", [1.0, 2.0], -math.log(2 * math.pi) - 0.5 * math.log(1.75), None),
        ("counts", [0.0], -3.0, [-1.0]),
        ("bounds", [1.0, 0.0], -math.log(10), [1.0, 1.5]),
        ("double", [0.0, 0.0], -math.log(2 * math.pi), None),
        ("Dense", [1.0, 1.0], -1.0, None),
    ],
)
def test_log_densities_are_minus_infinity_outside_of_the_support(name, inside, log_prob, outside):
    rows = torch.tensor([inside, inside if outside is None else outside])
    found = Prior(f"mymodule.{name}").log_prob(rows)
    assert found.dtype == torch.float64
    assert found[0] == pytest.approx(log_prob, abs=1e-6)
    assert found[1] == found[0] if outside is None else found[1] == -math.inf


def test_supports_of_scipy_and_of_bounds_are_known():
    for name, low, high in [("scalar", [2.0], [5.0]), ("bounds", [0.0, -1.0], [5.0, 1.0])]:
        prior = Prior(f"mymodule.{name}")
        support = support_of(prior.value, prior.dims)
        assert support.low.tolist() == low
        assert support.high.tolist() == high
    assert support_of(Prior("mymodule.counts").value, 1).discrete.all()


def test_bounds_in_the_config_are_a_prior_with_names():
    prior = Prior({"depth": [0.0, 5.0], "speed": [-1.0, 1.0]})
    assert prior.names == ["depth", "speed"]
    assert torch.equal(pickle.loads(pickle.dumps(prior)).draw(9, [1]), prior.draw(9, [1]))
    with pytest.raises(InnflowError, match=r"speed is \[1, 1\], expected"):
        Prior({"speed": [1, 1]})


def test_a_prior_without_a_density_is_refused(refused):
    with refused("data.prior=mymodule.own: has no log_prob"):
        Prior("mymodule.own").log_prob(torch.zeros(3, 2))
    with refused("data.prior=mymodule.Bad: log_prob raises ArithmeticError: no density"):
        Prior("mymodule.Bad").log_prob(torch.zeros(3, 2))
