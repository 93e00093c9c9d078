"""ActNorm: initialised once, from the data of all ranks, and an ordinary layer otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from flow.zoo import FLOWS, draw
from innflow.flow import ActNorm, CouplingFlow, glow, vector
from innflow.flow.initialise import initialise


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of every feature of dim 1."""
    flat = x.transpose(0, 1).flatten(1)
    return flat.mean(dim=1), flat.std(dim=1, correction=0)


def layers(flow: CouplingFlow) -> list[ActNorm]:
    return [module for module in flow.modules() if isinstance(module, ActNorm)]


def seen_by(flow: CouplingFlow, x: Tensor, context: Tensor | None = None) -> list[Tensor]:
    """Return what every ActNorm gives when the flow is run."""
    outputs: list[Tensor] = []
    hooks = [m.register_forward_hook(lambda m, i, o: outputs.append(o[0])) for m in layers(flow)]
    with torch.no_grad():
        flow(x, context)
    for hook in hooks:
        hook.remove()
    return outputs


@pytest.mark.parametrize("shape", [(4,), (4, 3, 5)])
def test_actnorm_is_the_identity_before_initialisation(shape):
    x = torch.randn(6, *shape)
    y, logabsdet = ActNorm(4)(x)
    assert torch.equal(y, x)
    assert torch.equal(logabsdet, torch.zeros(6))


@pytest.mark.parametrize("shape", [(4,), (4, 3, 5)])
@pytest.mark.parametrize(("centre", "width"), [(0.0, 1.0), (1e4, 0.5), (-3.0, 200.0)])
def test_initialise_standardises_every_feature(shape, centre, width):
    layer = ActNorm(4).double()
    x = centre + width * torch.randn(64, *shape, dtype=torch.float64)
    layer.initialise(x)
    mean, std = moments(layer(x)[0])
    torch.testing.assert_close(mean, torch.zeros_like(mean), atol=1e-6, rtol=0)
    torch.testing.assert_close(std, torch.ones_like(std), atol=1e-5, rtol=0)


def test_a_constant_feature_stays_finite_and_is_centred():
    layer, x = ActNorm(3), torch.randn(16, 3, 4, 4)
    x[:, 1] = 0.7
    layer.initialise(x)
    y, logabsdet = layer(x)
    assert y.isfinite().all()
    assert logabsdet.isfinite().all()
    assert y[:, 1].abs().max() < 1e-4
    torch.testing.assert_close(layer.inverse(y)[0], x)


def test_one_item_is_enough():
    layer = ActNorm(3)
    layer.initialise(torch.randn(1, 3))
    assert all(p.isfinite().all() for p in layer.parameters())


@pytest.mark.parametrize("case", FLOWS.values(), ids=FLOWS.keys())
def test_every_layer_of_a_flow_gives_standardised_outputs(case):
    flow, (x, context) = case.make(), draw(case, batch=64)
    x = 3 + 5 * x
    flow.initialise(x, context)
    assert layers(flow)
    assert all(bool(layer.initialised) for layer in layers(flow))
    for output in seen_by(flow, x, context):
        mean, std = moments(output)
        assert mean.abs().max() < 1e-3
        assert (std - 1).abs().max() < 1e-3


def test_a_second_initialise_changes_nothing():
    flow = vector(3, depth=3, hidden=(8,))
    flow.initialise(torch.randn(50, 3))
    before = {name: value.clone() for name, value in flow.state_dict().items()}
    flow.initialise(10 + 5 * torch.randn(50, 3))
    assert all(torch.equal(before[name], value) for name, value in flow.state_dict().items())


def test_a_loaded_flow_keeps_its_values():
    trained = vector(3, depth=2, hidden=(8,))
    trained.initialise(torch.randn(50, 3))
    resumed = vector(3, depth=2, hidden=(8,))
    resumed.load_state_dict(trained.state_dict())
    resumed.initialise(7 + torch.randn(50, 3))
    for name, value in trained.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value)


def test_running_a_flow_initialises_nothing_and_leaves_no_hook():
    flow = glow((1, 4, 4), levels=1, depth=2, hidden=4)
    x = 5 + torch.randn(8, 1, 4, 4)
    for mode in (True, False):
        flow.train(mode)
        flow(x)
        flow.inverse(flow(x)[0])
    assert not any(bool(layer.initialised) for layer in layers(flow))
    flow.initialise(x)
    assert not any(layer._forward_pre_hooks for layer in layers(flow))


def test_parameters_still_train_after_initialisation():
    layer = ActNorm(2)
    layer.initialise(torch.randn(20, 2))
    layer(torch.randn(20, 2))[0].square().sum().backward()
    assert (layer.log_scale.grad != 0).all()
    assert (layer.shift.grad != 0).all()


def _rank(rank: int, folder: str) -> None:
    """Initialise on this rank's share of the data and keep the result."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    try:
        torch.manual_seed(0)
        flow = glow((1, 4, 4), levels=2, depth=2, hidden=4)
        initialise(flow, torch.load(Path(folder) / "data.pt")[rank])
        torch.save(flow.state_dict(), Path(folder) / f"rank{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.mark.extended
def test_two_ranks_end_with_the_values_of_the_pooled_batch(tmp_path):
    shares = [torch.randn(24, 1, 4, 4), 4 + 3 * torch.randn(24, 1, 4, 4)]
    torch.save(shares, tmp_path / "data.pt")
    mp.spawn(_rank, args=(str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    torch.manual_seed(0)
    pooled = glow((1, 4, 4), levels=2, depth=2, hidden=4)
    initialise(pooled, torch.cat(shares))
    for name, value in pooled.state_dict().items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, rtol=1e-5, atol=1e-5)
