"""Compilation in place: one graph for each direction."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from innflow.flow import CouplingFlow, glow, vector

MAKERS = {
    "affine": lambda: vector(4, depth=2, hidden=(8,)),
    "spline": lambda: vector(3, depth=2, hidden=(8,), coupling="spline", context=2),
    "glow": lambda: glow((3, 4, 4), levels=2, depth=1, hidden=4),
}


@pytest.fixture(autouse=True)
def fresh():
    """Graphs of other tests count against the limit of recompilations."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def moved(make) -> CouplingFlow:
    torch.manual_seed(0)
    flow = make()
    for parameter in flow.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return flow


@pytest.mark.representatives("affine")
@pytest.mark.parametrize("name", MAKERS)
def test_both_directions_are_one_graph_with_the_same_values_and_gradients(name):
    flow = moved(MAKERS[name])
    x = torch.randn(6, *flow.shape)
    context = torch.randn(6, 2) if name == "spline" else None
    keys = flow.state_dict().keys()

    def step():
        flow.zero_grad()
        z, logabsdet = flow(x, context)
        (z.square().sum(1) - logabsdet).mean().backward()
        return z.detach(), logabsdet.detach(), [p.grad.clone() for p in flow.parameters()]

    expected = step()
    counter = CompileCounterWithBackend("aot_eager")
    flow.compile(backend=counter)
    torch.testing.assert_close(step(), expected, rtol=1e-4, atol=1e-5)
    assert counter.frame_count == 1
    with torch.no_grad():
        back, _ = flow.inverse(expected[0], context)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-4)
    assert counter.frame_count == 2
    assert flow.state_dict().keys() == keys


def test_initialisation_does_not_use_the_compiled_graph():
    compiled, plain = moved(MAKERS["affine"]), moved(MAKERS["affine"])
    x = 3 + 2 * torch.randn(64, 4)
    compiled.compile(backend="aot_eager")
    compiled(x)
    for flow in (compiled, plain):
        flow.initialise(x)
    torch.testing.assert_close(compiled.state_dict(), plain.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(compiled(x), plain(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda flow: pickle.loads(pickle.dumps(flow))])
def test_a_copy_runs_on_its_own_parameters(twin):
    flow = moved(MAKERS["affine"])
    x = torch.randn(5, 4)
    flow.compile(backend="aot_eager")
    before = flow(x)[0]
    other = twin(flow)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.zero_()
    torch.testing.assert_close(other(x)[0], before)


def test_uncompiled_it_runs_layer_by_layer_again():
    flow = moved(MAKERS["affine"])
    counter = CompileCounterWithBackend("eager")
    flow.compile(backend=counter)
    flow.uncompile()
    flow(torch.randn(5, 4))
    assert counter.frame_count == 0
