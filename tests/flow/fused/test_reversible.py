"""Training without stored activations: equal values and gradients, constant memory."""

from __future__ import annotations

import os
from functools import partial

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from flow.zoo import ALL, FLOWS, built, draw, kept_bytes
from innflow.flow import MLP, CouplingFlow, fused, glow, vector


def gradients(flow, x, context, run):
    """Return z, log-det, and the gradients of inputs, context and parameters."""
    flow.zero_grad()
    x = x.clone().requires_grad_()
    context = None if context is None else context.clone().requires_grad_()
    z, logabsdet = run(x, context)
    (z.square().flatten(1).sum(1).sqrt() * 2 - logabsdet).mean().backward()
    found = {name: p.grad.clone() for name, p in flow.named_parameters() if p.grad is not None}
    found |= {"inputs": x.grad} | ({} if context is None else {"context": context.grad})
    return z.detach(), logabsdet.detach(), found


@pytest.mark.parametrize("case", ALL.values(), ids=ALL.keys())
def test_values_and_gradients_agree_with_ordinary_training(case):
    flow, (x, context) = built(case, torch.float64), draw(case, torch.float64)
    z, logabsdet, expected = gradients(flow, x, context, flow)
    expected_z, expected_logabsdet = fused.forward(flow, x, context)
    torch.testing.assert_close((expected_z, expected_logabsdet), (z, logabsdet))
    again, same, found = gradients(flow, x, context, partial(fused.forward, flow, reversible=True))
    assert torch.equal(again, expected_z)
    assert torch.equal(same, expected_logabsdet)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-8, atol=1e-9, msg=name)


@pytest.mark.parametrize("case", FLOWS.values(), ids=FLOWS.keys())
def test_the_attribute_of_a_flow_applies_to_every_level(case):
    flow, (x, context) = built(case, torch.float64), draw(case, torch.float64)
    _, _, expected = gradients(flow, x, context, flow)
    before = flow.state_dict().keys()
    flow.reversible = True
    _, _, found = gradients(flow, x, context, flow)
    assert flow.state_dict().keys() == before
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-8, atol=1e-9, msg=name)


@pytest.mark.parametrize("coupling", ["affine", "spline"])
@pytest.mark.parametrize("features", [2, 3, 8, 9])
def test_a_network_runs_once_in_each_pass(features, coupling):
    class Counted(MLP):
        def forward(self, x, context=None):
            calls.append(1)
            return super().forward(x, context)

    calls = []
    torch.manual_seed(features)
    flow = vector(features, depth=4, coupling=coupling, hidden=(16, 16), subnet=Counted)
    flow = flow.double()
    for parameter in flow.parameters():
        nn.init.normal_(parameter, std=0.3 if coupling == "affine" else 0.1)
    frozen = next(flow.parameters()).requires_grad_(False)
    x = torch.randn(12, features, dtype=torch.float64)
    z, logabsdet, expected = gradients(flow, x, None, flow)
    calls.clear()
    flow.reversible = True
    again, same, found = gradients(flow, x, None, flow)
    assert len(calls) == 8
    assert frozen.grad is None
    torch.testing.assert_close((again, same), (z, logabsdet))
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)


def test_in_single_precision_deep_gradients_are_close():
    torch.manual_seed(0)
    flow = vector(16, depth=32, hidden=(32,))
    for parameter in flow.parameters():
        parameter.data += 0.03 * torch.randn_like(parameter)
    x = torch.randn(64, 16)
    _, _, expected = gradients(flow, x, None, flow)
    flow.reversible = True
    _, _, found = gradients(flow, x, None, flow)
    for name, value in expected.items():
        assert (found[name] - value).norm() <= 1e-4 * value.norm() + 1e-6, name


@pytest.mark.parametrize("make", [vector, glow], ids=["vector", "image"])
def test_stored_bytes_do_not_grow_with_depth(make):
    def kept(depth, switch):
        small = {"hidden": (16,)} if make is vector else {"hidden": 8, "levels": 1}
        shape = 16 if make is vector else (3, 8, 8)
        flow = make(shape, depth=depth, **small)
        flow.reversible = switch
        x = torch.randn(256, *flow.shape)
        return kept_bytes(lambda: flow(x)) - sum(p.nbytes for p in flow.parameters()) * switch

    assert kept(16, True) <= kept(4, True)
    assert kept(16, False) > 3 * kept(4, False)


def test_dropout_is_replayed():
    torch.manual_seed(0)
    flow = vector(6, depth=3, subnet=partial(MLP, dropout=0.5)).double()
    for parameter in flow.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    x = torch.randn(8, 6, dtype=torch.float64)
    results = []
    for switch in (False, True):
        flow.reversible = switch
        torch.manual_seed(3)
        results.append((*gradients(flow, x, None, flow), torch.rand(1)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-10)


def test_networks_run_in_the_same_precision_in_the_backward_pass():
    seen = []

    class Listening(MLP):
        def forward(self, x, context=None):
            outputs = super().forward(x, context)
            seen.append(outputs.dtype)
            return outputs

    flow = vector(4, depth=2, subnet=Listening)
    flow.reversible = True
    with torch.autocast("cpu", torch.bfloat16):
        z, logabsdet = flow(torch.randn(3, 4))
    (z.sum() + logabsdet.sum()).backward()
    assert seen == [torch.bfloat16] * 4
    assert z.dtype == torch.float32


def test_no_graph_is_built_without_gradients():
    flow = vector(4, depth=2)
    flow.reversible = True
    with torch.no_grad():
        z, _ = flow(torch.randn(3, 4))
    assert not z.requires_grad


def test_frozen_parameters_stay_without_gradients():
    flow = vector(4, depth=2)
    flow.reversible = True
    frozen = next(flow.parameters()).requires_grad_(False)
    z, logabsdet = flow(torch.randn(3, 4))
    (z.square().sum() - logabsdet.sum()).backward()
    assert frozen.grad is None
    assert sum(p.grad is not None for p in flow.parameters()) == len(list(flow.parameters())) - 1


class Loss(nn.Module):
    def __init__(self, flow: CouplingFlow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, x):
        z, logabsdet = self.flow(x)
        return (0.5 * z.square().sum(1) - logabsdet).mean()


def make_loss(switch: bool) -> Loss:
    torch.manual_seed(1)
    flow = vector(5, depth=3, hidden=(8,)).double()
    for parameter in flow.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    flow.reversible = switch
    return Loss(flow)


def train_on_rank(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    loss = make_loss(switch=True)
    x = torch.load(f"{folder}/x.pt")[rank::2]
    parallel = DistributedDataParallel(loss)
    parallel(x).backward()
    torch.save([p.grad for p in loss.parameters()], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.extended
def test_two_ranks_average_the_ordinary_gradients(tmp_path):
    x = torch.randn(12, 5, dtype=torch.float64)
    torch.save(x, tmp_path / "x.pt")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    mp.spawn(train_on_rank, args=(str(tmp_path),), nprocs=2)
    loss = make_loss(switch=False)
    loss(x).backward()
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        expected = [parameter.grad for parameter in loss.parameters()]
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)
