"""Gradients that are written out are those of autograd, once and twice, and keep less."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from innflow.flow import MLP, ActNorm, Affine, Coupling, Permute
from innflow.flow.fused.gradient import AffineCoupling, Reorder, ScaleReorder, ScaleShift
from innflow.flow.permute import mixing_order

NAMES = ["reorder", "scale_reorder", "scale_exchange", "scale_shift", "affine_coupling"]
SHAPES = pytest.mark.parametrize("shape", [(4, 6), (2, 6, 3, 2)], ids=["vectors", "images"])
ORDER = torch.tensor([2, 0, 5, 1, 3, 4])


def plain_scale_shift(x, raw, shift, bound):
    log_scale = bound * torch.tanh(raw / bound)
    return x * log_scale.exp() + shift, log_scale


def plain_scale_reorder(first, second, log_scale, shift, order, restore):
    x = torch.cat((first, second), dim=1)
    order = torch.arange(6).roll(3) if order is None else order
    wide = (-1, *(1,) * (x.dim() - 2))
    outputs = (x * log_scale.exp().view(wide) + shift.view(wide))[:, order]
    return outputs.split((first.shape[1], second.shape[1]), dim=1)


def plain_affine_coupling(x, parameters, bound):
    outputs, log_scale = plain_scale_shift(x, *parameters.chunk(2, dim=1), bound)
    return outputs, log_scale.flatten(1).sum(1), log_scale


def draws(*shapes):
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def cases(shape):
    def part(features):
        return (shape[0], features, *shape[2:])

    features, reorder = shape[1:2], (ORDER, ORDER.argsort())
    plain_scale = (ScaleReorder.run, plain_scale_reorder)
    return {
        "reorder": (Reorder.run, lambda x, o, _: x[:, o], draws(shape), reorder),
        "scale_reorder": (*plain_scale, draws(part(4), part(2), features, features), reorder),
        "scale_exchange": (
            *plain_scale, draws(part(3), part(3), features, features), (None, None)
        ),
        "scale_shift": (ScaleShift.run, plain_scale_shift, draws(shape, shape, shape), (1.5,)),
        "affine_coupling": (
            AffineCoupling.run, plain_affine_coupling, draws(part(2), part(4)), (1.5,)
        ),
    }  # fmt: skip


@SHAPES
@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_are_those_of_autograd(name, shape):
    ours, plain, inputs, rest = cases(shape)[name]
    results = []
    for function in (ours, plain):
        outputs = function(*inputs, *rest)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        loss = sum((output * output.cos()).sum() for output in outputs)
        results.append((outputs, torch.autograd.grad(loss, inputs)))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=1e-12)


@SHAPES
@pytest.mark.parametrize("name", NAMES)
def test_second_derivatives_are_right(name, shape):
    ours, _, inputs, rest = cases(shape)[name]
    assert torch.autograd.gradgradcheck(lambda *args: ours(*args, *rest), inputs)


@pytest.mark.parametrize("name", NAMES)
def test_jacobians_by_vmap(name):
    ours, plain, inputs, rest = cases((2, 6))[name]
    of = [
        torch.func.jacrev(lambda x, f=f: f(x, *inputs[1:], *rest))(inputs[0]) for f in (ours, plain)
    ]
    torch.testing.assert_close(of[0], of[1])


@SHAPES
@pytest.mark.parametrize("used", [(0,), (1,), (2,), (0, 1)])
def test_an_affine_coupling_of_which_a_part_is_used(shape, used):
    ours, plain, inputs, rest = cases(shape)["affine_coupling"]
    found = []
    for function in (ours, plain):
        outputs = function(*inputs, *rest)
        loss = sum(outputs[index].sin().sum() for index in used)
        found.append(torch.autograd.grad(loss, inputs, allow_unused=True, materialize_grads=True))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-12)


def kept_bytes(run) -> int:
    """Return the bytes of all distinct memory that a forward pass keeps for its backward pass."""
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(kept.values())


def test_an_affine_coupling_keeps_less_than_autograd_would():
    class Plain(Affine):
        def forward(self, x, parameters):
            return plain_scale_shift(x, *parameters.chunk(2, dim=1), self.bound)

    x = torch.randn(64, 512)
    used = []
    for univariate in (Affine(), Plain()):
        coupling = Coupling(512, partial(MLP, hidden=(8,)), univariate)
        used.append(kept_bytes(lambda c=coupling: c(x)))
    assert used[0] <= used[1] - 64 * 256 * 4


@pytest.mark.parametrize("step", [0, 1], ids=["gather", "exchange"])
def test_a_normalisation_and_the_permutation_behind_it_keep_their_input_alone(step):
    halves = [torch.randn(64, 256, requires_grad=True) for _ in range(2)]
    norm, permute = ActNorm(512), Permute(mixing_order(512, step))
    orders = (None, None) if permute.exchanges else (permute.order, permute.restore)
    small = 8 * 2 * 512 * 4
    kept = kept_bytes(lambda: ScaleReorder.run(*halves, norm.log_scale, norm.shift, *orders))
    assert kept <= 2 * halves[0].nbytes + small


def test_the_gradient_of_a_permutation_is_no_scatter():
    permute = Permute(mixing_order(12, 0))
    outputs, _ = permute(torch.randn(3, 12, requires_grad=True))
    with torch.autograd.profiler.profile() as profile:
        outputs.sum().backward()
    names = {event.name for event in profile.function_events}
    assert "aten::index_select" in names
    assert not any("index_add" in name or "scatter" in name for name in names)


def test_all_of_a_module_is_reached():
    coupling = Coupling(6, partial(MLP, hidden=(4,)))
    nn.init.normal_(coupling.net.layers[-1].weight)
    coupling(torch.randn(3, 6))[0].sum().backward()
    assert all((p.grad != 0).any() for p in coupling.net.parameters() if p.dim() > 1)
