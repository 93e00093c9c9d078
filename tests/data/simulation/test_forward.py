from __future__ import annotations

import pickle
import re

import numpy as np
import pytest
import torch

from data.own import write_module
from innflow.data.simulation.forward import ForwardModel, run_chunk
from innflow.errors import InnflowError

SOURCE = """
import numpy as np
import torch
from functools import partial

def tensors(x):
    assert isinstance(x, torch.Tensor) and x.dtype == torch.float32
    return torch.cat([x, x.sum(1, keepdim=True)], 1).double().requires_grad_()
def arrays(x):
    return np.concatenate([x, x.sum(axis=1, keepdims=True)], axis=1)
def spread(x):
    return _spread(x)
def _spread(x):
    return np.abs(x).std(axis=1)
def strict(x):
    if type(x) is not np.ndarray: raise TypeError("arrays only")
    return x.sum(1)
def methods(x):
    return x.sin()[:, :1]
class Machine:
    def __call__(self, x): return np.cos(x)
machine = Machine()
curried = partial(lambda power, x: x**power, 2)
def whole(x):
    return (x > 0)
def spoils(x):
    x *= 0
    return x

def transposed(x): return np.stack([x[:, 0], x[:, 1]])
def unpacks(x):
    a, b = x
    return np.array([a + b, a - b])
def pair(x): return x[:, 0], x[:, 1]
def scalar(x): return x.sum()
def images(x): return x[:, :, None] * x[:, None]
def text(x): return np.array([["a"]] * len(x))
def complex_(x): return x + 1j
def raises(x): raise ValueError("no\\nluck")
def big(x): return 1e30 * x.double() ** 2 * 1e30 if isinstance(x, torch.Tensor) else 1e60 * x**2
def picky(x):
    if (x[:, 0] > 0.9).any(): raise ZeroDivisionError("steep")
    return x
def growing(x): return x if len(x) < 5 else x[:, :1]
number = 3
"""


@pytest.fixture
def model(monkeypatch, tmp_path):
    write_module(monkeypatch, tmp_path, SOURCE)
    rows = torch.linspace(0.1, 0.8, 8).reshape(4, 2)

    def make(name: str, array: str = "auto") -> ForwardModel:
        return ForwardModel(f"mymodule.{name}", rows, array)

    return make


X = torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("tensors", "torch", [[0, 1, 1], [2, 3, 5], [4, 5, 9]]),
        ("arrays", "numpy", [[0, 1, 1], [2, 3, 5], [4, 5, 9]]),
        ("spread", "numpy", [[0.5], [0.5], [0.5]]),  # torch would say 0.7071
        ("strict", "numpy", [[1], [5], [9]]),
        ("methods", "torch", [[np.sin(0)], [np.sin(2)], [np.sin(4)]]),
        ("machine", "numpy", np.cos(X.numpy())),
        ("curried", "torch", X.numpy() ** 2),
        ("whole", "torch", [[0, 1], [1, 1], [1, 1]]),
    ],
)
def test_it_is_given_what_it_is_written_for(model, name, kind, expected):
    forward = model(name)
    assert forward.kind == kind
    y = forward(X)
    assert y.dtype == torch.float32
    assert not y.requires_grad
    assert np.allclose(y, expected, atol=1e-6)
    assert forward.dims == y.shape[1]


def test_the_kind_can_be_chosen(model):
    assert np.allclose(model("spread", "torch")(X), 0.5**0.5)
    with pytest.raises(InnflowError, match=r"as a torch tensor \(3, 2\), it raises TypeError: arr"):
        model("strict", "torch")


def test_what_it_does_to_its_input_stays_with_it(model):
    x = X.clone()
    model("spoils")(x)
    assert torch.equal(x, X)


def test_numbers_beyond_single_precision_are_infinite(model):
    assert model("big")(X + 1).isinf().all()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("transposed", "returns the shape (2, 3), expected (3, M)"),
        ("unpacks", "raises ValueError: too many values to unpack"),
        ("pair", "returns a tuple, expected one array (B, M)"),
        ("scalar", "returns the shape (), expected (3, M)"),
        ("text", "returns <U1, expected real numbers"),
        ("complex_", "expected real numbers"),
        ("raises", "it raises ValueError: no luck"),
        ("number", "has the type int, expected a function"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused_with_the_reason(model, name, says):
    with pytest.raises(InnflowError, match=re.escape(says)) as caught:
        model(name)
    assert str(caught.value).startswith(f"data.forward=mymodule.{name}: ")
    assert "\n" not in str(caught.value)


def test_both_reasons_stand_in_one_line(model):
    with pytest.raises(InnflowError, match=r"torch tensor or a numpy array \(3, 2\), it raises Va"):
        model("raises")


def test_as_many_observables_as_rows_may_be_a_transpose(monkeypatch, tmp_path):
    write_module(monkeypatch, tmp_path, "def three(x): return x\ndef turned(x): return x.T.clone()")
    assert ForwardModel("mymodule.three", torch.rand(3, 2)).dims == 2
    with pytest.raises(InnflowError, match=r"returns the shape \(2, 3\), expected \(3, M\)"):
        ForwardModel("mymodule.turned", torch.rand(3, 2))


def test_it_pickles_as_its_path(model):
    forward = model("curried")
    forward.imported  # noqa: B018 - what it has imported must not be pickled: a lambda cannot be
    again = pickle.loads(pickle.dumps(forward))
    assert torch.equal(again(X), forward(X))


def test_a_failing_chunk_says_at_which_row(model):
    x = torch.full((50, 2), 0.5)
    x[[30, 40]] = torch.tensor([[0.95, 0.25], [0.99, 0.0]])
    said = run_chunk(model("picky"), x.numpy(), (0,), 100)
    assert said == "it raises ZeroDivisionError: steep, at x = [0.95, 0.25]"
    said = run_chunk(model("growing"), x.numpy(), (0,), 100)
    assert said == "it returns 1 observables, after 2 for the first rows, at rows 100 to 149"
    with pytest.raises(InnflowError, match="it raises ZeroDivisionError: steep"):
        model("picky")(x)
