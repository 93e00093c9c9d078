from __future__ import annotations

import pickle
import re

import pytest
import torch
from torch.distributions import Independent

from data.own import write_module
from innflow.data.simulation.prior import Prior
from innflow.errors import InnflowError

SOURCE = """
import numpy as np
import torch
from torch.distributions import Normal, Uniform, MultivariateNormal, Independent
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
        ("settings", "a dict has no method sample: give a torch distribution"),
        ("makes_dict", "makes a dict, which has no method sample"),
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
