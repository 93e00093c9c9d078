"""Coupling networks for images: sizes, bottlenecks, and how far they see."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from flow.zoo import perturb
from innflow.flow import (
    MLP,
    Autoencoder,
    ConvNet,
    Coupling,
    GatedNet,
    ImageMLP,
    MaskedCoupling,
    ResNet,
    glow,
    maps,
    masked,
    patches,
    realnvp,
)
from innflow.flow.network.base import fix

MAKERS = {
    "conv": ConvNet,
    "resnet": ResNet,
    "gated": GatedNet,
    "autoencoder": Autoencoder,
    "dense": ImageMLP,
}


def jacobian_of(net, x):
    """Return the Jacobian of all outputs by all inputs at one item (1, ...)."""
    rows = torch.autograd.functional.jacobian(net, x)
    return rows.reshape(-1, x.numel())


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS.keys())
@pytest.mark.parametrize("size", [(8, 8), (7, 7), (1, 3)])
def test_a_network_keeps_the_size_starts_at_zero_and_learns(make, size):
    net, x = fix(make, hidden=4, size=size)(3, 5, context=2), torch.randn(6, 3, *size)
    out = net(x, torch.randn(6, 2))
    assert out.shape == (6, 5, *size)
    assert torch.equal(out, torch.zeros_like(out))
    perturb(net)
    assert (net(x, torch.zeros(6, 2)) != net(x, torch.ones(6, 2))).any()
    net(x, torch.randn(6, 2)).sum().backward()
    assert all((p.grad != 0).any() for p in net.parameters())


@pytest.mark.parametrize("side", [28, 32, 14, 8, 7, 3, 2, 1])
def test_an_autoencoder_takes_any_size(side):
    net = Autoencoder(1, 2, hidden=2, bottleneck=3, size=(side, side + 1))
    assert net(torch.randn(2, 1, side, side + 1)).shape == (2, 2, side, side + 1)


@pytest.mark.parametrize(
    ("make", "radius"),
    [
        (ConvNet, 2),
        (partial(ResNet, blocks=2), 6),
        (partial(ResNet, blocks=1), 4),
        (partial(GatedNet, layers=3), 5),
        (partial(Autoencoder, bottleneck=4), 8),
        (partial(ImageMLP, layers=1), 8),
    ],
)
def test_receptive_field_of_networks(make, radius):
    net = perturb(fix(make, hidden=4, size=(17, 17))(1, 1)).double()
    x = torch.randn(1, 1, 17, 17, dtype=torch.float64)
    seen = jacobian_of(net, x)[8 * 17 + 8].view(17, 17) != 0
    rows = seen.any(dim=1).nonzero().flatten()
    assert (8 - rows.min(), rows.max() - 8) == (radius, radius)


@pytest.mark.parametrize(
    "flow",
    [
        lambda net: masked((1, 8, 8), depth=4, hidden=4, subnet=net),
        lambda net: masked((2, 7, 6), "checkerboard", depth=2, hidden=4, subnet=net),
        lambda net: masked((1, 7, 7), "horizontal", depth=2, hidden=4, subnet=net),
        lambda net: glow((1, 8, 8), levels=2, depth=2, hidden=4, subnet=net),
        lambda net: realnvp((1, 8, 8), levels=2, depth=2, hidden=4, subnet=net),
        lambda net: patches((1, 8, 8), patch=4, depth=2, hidden=4, subnet=net),
        lambda net: maps((8, 3, 2), depth=2, hidden=4, subnet=net),
    ],
)
@pytest.mark.parametrize("bottleneck", [1, 3])
def test_the_bottleneck_reaches_every_coupling(flow, bottleneck):
    built = perturb(flow(partial(Autoencoder, bottleneck=bottleneck))).double()
    couplings = [m for m in built.modules() if isinstance(m, Coupling | MaskedCoupling)]
    ranks = []

    def measure(net, args):
        rows = jacobian_of(net.forward, torch.randn_like(args[0][:1]))
        ranks.append(int(torch.linalg.matrix_rank(rows, rtol=1e-10)))

    for coupling in couplings:
        coupling.net.register_forward_pre_hook(measure)
    built(torch.randn(1, *built.shape, dtype=torch.float64))
    assert ranks == [bottleneck] * len(couplings)
    assert len(couplings) >= 2


def test_context_is_appended_to_the_bottleneck():
    net = perturb(Autoencoder(1, 1, context=5, hidden=4, bottleneck=1, size=(4, 4))).double()
    x, context = torch.randn(1, 1, 4, 4).double(), torch.randn(1, 5).double()
    by_input = jacobian_of(lambda v: net(v, context), x)
    by_context = jacobian_of(lambda c: net(x, c), context)
    assert torch.linalg.matrix_rank(by_input, rtol=1e-10) == 1
    assert torch.linalg.matrix_rank(by_context, rtol=1e-10) == 5


def test_size_is_passed_only_to_makers_with_that_argument():
    assert fix(ConvNet, size=(2, 3)).keywords == {}
    assert fix(partial(MLP, hidden=(2,)), size=(2, 3)).keywords == {"hidden": (2,)}
    assert fix(lambda inputs, outputs, context=0: None, hidden=2, size=(2, 3)).keywords == {}
    made = fix(ImageMLP, hidden=2, size=(2, 3))(1, 1)
    assert made.shape == (1, 2, 3)


def test_bad_arguments(refused):
    with refused("resnet: blocks=0"):
        ResNet(1, 1, blocks=0)
    with refused("gated: layers=0"):
        GatedNet(1, 1, layers=0)
    with refused("autoencoder: bottleneck=0"):
        Autoencoder(1, 1, bottleneck=0, size=(4, 4))
    with refused("dense: layers=0"):
        ImageMLP(1, 1, layers=0, size=(4, 4))
    for make in (ResNet, GatedNet, partial(Autoencoder, size=(4, 4))):
        with refused("hidden=0", "at least 1"):
            make(1, 1, hidden=0)
