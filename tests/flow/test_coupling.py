"""Couplings, their masks and their networks."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from flow.zoo import perturb
from innflow.flow import MLP, Affine, ConvNet, Coupling, MaskedCoupling, Permute, Spline
from innflow.flow.mask import checkerboard
from innflow.flow.permute import mixing_order

mlp, conv = partial(MLP, hidden=(8,)), partial(ConvNet, hidden=4)


@pytest.mark.parametrize("univariate", [Affine(), Spline()])
def test_a_coupling_starts_as_the_identity(univariate):
    for layer, x in (
        (Coupling(5, mlp, univariate), torch.randn(3, 5)),
        (Coupling(5, conv, univariate), torch.randn(3, 5, 4, 4)),
        (MaskedCoupling(2, checkerboard(4, 4), conv, univariate), torch.randn(3, 2, 4, 4)),
    ):
        y, logabsdet = layer(x)
        torch.testing.assert_close(y, x, atol=1e-5, rtol=0)
        torch.testing.assert_close(logabsdet, torch.zeros(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("features", [2, 3, 6, 7])
def test_the_first_half_stays_and_conditions_the_second(features):
    layer = perturb(Coupling(features, mlp))
    x = torch.randn(4, features)
    y, _ = layer(x)
    stays = features - features // 2
    assert torch.equal(y[:, :stays], x[:, :stays])
    assert (y[:, stays:] != x[:, stays:]).all()
    moved = x.clone()
    moved[:, 0] += 1
    assert (layer(moved)[0][:, stays:] != y[:, stays:]).any()


@pytest.mark.parametrize("flip", [False, True])
def test_masked_pixels_stay_and_the_jacobian_of_the_others_is_diagonal(flip):
    mask = checkerboard(4, 6, flip)
    layer = perturb(MaskedCoupling(2, mask, conv)).double()
    x = torch.randn(1, 2, 4, 6, dtype=torch.float64)
    y, _ = layer(x)
    stays = mask.expand(2, -1, -1)
    assert torch.equal(y[0][stays], x[0][stays])
    assert (y[0][~stays] != x[0][~stays]).all()
    jacobian = torch.autograd.functional.jacobian(lambda v: layer(v)[0], x).view(48, 48)
    changed = jacobian[~stays.flatten()][:, ~stays.flatten()]
    assert torch.equal(changed, changed.diag().diag())


def test_checkerboards_of_both_colours_are_complements():
    black, white = checkerboard(3, 4), checkerboard(3, 4, flip=True)
    assert black.shape == (1, 3, 4)
    assert torch.equal(black, ~white)
    assert black[0].int().tolist() == [[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]]


def test_affine_log_scale_is_bounded():
    univariate = Affine(bound=1.5)
    raw = torch.tensor([[-1e6, 1e6, 0.1, 0.0, 0.0, 2.0]])
    y, log_scale = univariate.forward(torch.ones(1, 3), raw)
    assert log_scale.abs().max() <= 1.5
    torch.testing.assert_close(y, log_scale.exp() + torch.tensor([[0.0, 0.0, 2.0]]))
    small = 1.5 * torch.tanh(torch.tensor(0.1 / 1.5))
    torch.testing.assert_close(log_scale[0, 2], small)


@pytest.mark.parametrize("net", [MLP(3, 4, hidden=(8,)), ConvNet(3, 4, hidden=8)])
def test_a_network_starts_at_zero_and_learns(net):
    x = torch.randn(5, 3) if isinstance(net, MLP) else torch.randn(5, 3, 4, 4)
    out = net(x)
    assert torch.equal(out, torch.zeros_like(out))
    out.sum().backward()
    assert any((p.grad != 0).any() for p in net.parameters())


@pytest.mark.parametrize("features", [2, 4, 6, 8, 100])
def test_every_feature_is_changed_by_one_of_two_couplings(features):
    for first in (0, 2, 4):
        names = torch.arange(features)
        changed = torch.zeros(features)
        for step in (first, first + 1):
            names = names[mixing_order(features, step)]
            changed[names[features // 2 :]] += 1
        assert torch.equal(changed, torch.ones(features))


@pytest.mark.parametrize("features", [3, 5, 7])
def test_every_feature_of_an_odd_number_is_changed_within_eight_couplings(features):
    names = torch.arange(features)
    changed = torch.zeros(features)
    for step in range(8):
        names = names[mixing_order(features, step)]
        changed[names[features - features // 2 :]] += 1
    assert changed.min() >= 1


def test_every_pair_of_couplings_gets_another_permutation():
    assert not torch.equal(mixing_order(50, 0), mixing_order(50, 2))


def test_a_permutation_puts_input_order_i_at_i():
    y, logabsdet = Permute(torch.tensor([2, 0, 1]))(torch.tensor([[10.0, 20.0, 30.0]]))
    assert y.tolist() == [[30.0, 10.0, 20.0]]
    assert logabsdet.tolist() == [0.0]


def test_buffers_of_permutations_survive_averaging_of_weights_only():
    """They are integers: an average of them is no permutation (`use_buffers=False`)."""
    layer = Permute(mixing_order(6, 0))
    assert not list(layer.parameters())
    assert {name: value.dtype for name, value in layer.named_buffers()} == {
        "order": torch.int64,
        "restore": torch.int64,
    }


@pytest.mark.parametrize("order", [[0, 0, 1], [1, 2, 3], [0, 2]])
def test_no_permutation_is_refused(order, refused):
    with refused("no permutation of 0.."):
        Permute(torch.tensor(order))


def test_bad_arguments(refused):
    with refused("features=1", "at least 2"):
        Coupling(1, mlp)
    with refused("bound=0", "above 0"):
        Affine(bound=0)
    with refused("hidden=[]"):
        MLP(2, 2, hidden=())
    with refused("hidden=[8, 0]"):
        MLP(2, 2, hidden=(8, 0))
    with refused("hidden=0"):
        ConvNet(2, 2, hidden=0)
