"""Compilation in place: regions of equal layers share one graph for each direction."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

from innflow.flow import CouplingFlow, glow, vector
from innflow.flow.compiled import divide, kind

MAKERS = {
    "affine": lambda: vector(4, depth=2, hidden=(8,)),
    "spline": lambda: vector(3, depth=2, hidden=(8,), coupling="spline", context=2),
    "glow": lambda: glow((3, 4, 4), levels=2, depth=1, hidden=4),
    "deep": lambda: vector(3, depth=8, hidden=(4,), context=2, align=True),
}
GRAPHS = {"affine": 1, "spline": 1, "glow": 2, "deep": 1}
"""Graphs of one direction: one a level, and one for both halves of the deep flow."""


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
def test_graphs_have_the_values_and_gradients_of_the_layers(name):
    flow = moved(MAKERS[name])
    x = torch.randn(6, *flow.shape)
    context = torch.randn(6, 2) if name in ("spline", "deep") else None
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
    assert counter.frame_count == GRAPHS[name]
    with torch.no_grad():
        back, _ = flow.inverse(expected[0], context)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-4)
    assert counter.frame_count == 2 * GRAPHS[name]
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


def test_a_frozen_flow_records_no_gradients():
    flow = moved(MAKERS["deep"])
    x, context = torch.randn(6, 3), torch.randn(6, 2)
    flow.compile(backend="aot_eager")
    for parameter in flow.parameters():
        parameter.requires_grad_(False)
    assert not flow(x, context)[0].requires_grad
    assert not x.requires_grad


@pytest.mark.parametrize(
    ("flow", "sizes"),
    [
        (vector(2, depth=4, hidden=(4,)), [0, 12, 0]),
        (vector(2, depth=8, hidden=(4,)), [0, 12, 12, 0]),
        (vector(2, depth=10, hidden=(4,)), [0, 15, 15, 0]),
        (vector(2, depth=7, hidden=(4,)), [0, 21, 0]),  # no two regions would be equal
        (vector(2, depth=8, hidden=(4,), context=1, align=True), [1, 12, 12, 1]),
    ],
)
def test_regions_of_a_level(flow, sizes):
    regions = divide(flow.levels[0])
    assert [len(region) for region in regions] == sizes
    assert len(set(map(kind, regions[1:-1]))) == 1
