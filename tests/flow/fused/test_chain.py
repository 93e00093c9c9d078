"""A chain is nflows' composite, in fewer passes."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from nflows.transforms.base import CompositeTransform

from flow.zoo import perturb
from innflow.flow import MLP, ActNorm, ConvNet, Coupling, LULinear, Permute, Spline
from innflow.flow.fused import norm_dense
from innflow.flow.fused.chain import Chain
from innflow.flow.permute import mixing_order
from innflow.flow.reshape import Squeeze

conv = partial(ConvNet, hidden=4)

CHAINS = {
    "permutations": (
        lambda: [ActNorm(5), Permute(mixing_order(5, 0)), Coupling(5, partial(MLP, hidden=(8,)))],
        (5,),
    ),
    "exchanges": (
        lambda: [layer for step in (1, 3) for layer in (
            ActNorm(6), Permute(mixing_order(6, step)), Coupling(6, partial(MLP, hidden=(8, 4))))],
        (6,),
    ),
    "splines": (
        lambda: [ActNorm(5), Permute(mixing_order(5, 0)), Coupling(5, MLP, Spline(4))],
        (5,),
    ),
    "convolutions": (
        lambda: [ActNorm(2), Squeeze(), ActNorm(8), LULinear(8), Coupling(8, conv),
                 ActNorm(8), Permute(mixing_order(8, 0)), LULinear(8)],
        (2, 4, 6),
    ),
    "linear alone": (lambda: [ActNorm(4), LULinear(4)], (4,)),
}  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
def test_outputs_logabsdet_and_gradients_are_those_of_the_composite(name):
    make, shape = CHAINS[name]
    steps = [perturb(step.double(), 0.3) for step in make()]
    x = torch.randn(7, *shape, dtype=torch.float64)
    results = []
    for chain in (Chain(steps), CompositeTransform(steps)):
        inputs = x.clone().requires_grad_()
        z, logabsdet = chain(inputs)
        loss = (z.square().flatten(1).sum(1) * logabsdet).sum()
        wanted = [inputs, *(p for p in chain.parameters())]
        results.append((z, logabsdet, torch.autograd.grad(loss, wanted), chain.inverse(z)))
    torch.testing.assert_close(results[0], results[1], rtol=1e-11, atol=1e-11)


def test_state_dict_is_that_of_the_composite():
    torch.manual_seed(0)
    steps = CHAINS["convolutions"][0]()
    assert Chain(steps).state_dict().keys() == CompositeTransform(steps).state_dict().keys()


def test_hooks_of_a_step_run():
    steps = CHAINS["permutations"][0]()
    chain, seen = Chain(steps), []
    x = torch.randn(3, 5)
    for step in steps[:2]:
        handle = step.register_forward_hook(lambda step, args, outputs: seen.append(type(step)))
        chain(x)
        assert seen.pop() is type(step)
        handle.remove()
    chain(x)
    assert not seen


def test_a_subclass_with_a_pass_of_its_own_is_not_skipped():
    class Doubling(ActNorm):
        def forward(self, inputs, context=None):
            return 2 * inputs, inputs.new_zeros(len(inputs))

    x = torch.randn(3, 5)
    z, _ = Chain([Doubling(5), Permute(torch.arange(5))])(x)
    assert torch.equal(z, 2 * x)


def test_a_permutation_that_is_loaded_is_the_one_that_runs():
    torch.manual_seed(0)
    made = [[ActNorm(6), Permute(mixing_order(6, step)), Coupling(6, MLP)] for step in (0, 1)]
    chains = [Chain(steps) for steps in made]
    assert [steps[1].exchanges for steps in made] == [False, True]
    x = torch.randn(3, 6)
    for target, source in ((0, 1), (1, 0)):
        loaded = Chain(made[target])
        loaded.load_state_dict(chains[source].state_dict())
        expected = CompositeTransform(made[target])(x)[0]
        torch.testing.assert_close(loaded(x)[0], expected, rtol=0, atol=0)
        assert made[target][1].exchanges is torch.equal(made[target][1].order, mixing_order(6, 1))


def tiny(context=0, **network):
    torch.manual_seed(0)
    subnet = partial(MLP, hidden=(5, 3), **network)
    made = (ActNorm(4), Permute(mixing_order(4, 0)), Coupling(4, subnet, context=context))
    return [perturb(step.double(), 0.3) for step in made]


def test_second_derivatives_are_those_of_the_composite():
    steps = tiny()
    wanted = [p for step in steps for p in step.parameters()]
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    found = []
    for chain in (Chain(steps), CompositeTransform(steps)):
        z, logabsdet = chain(x)
        loss = (z.square().sum(1) * logabsdet).sum()
        (slope,) = torch.autograd.grad(loss, x, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), [x, *wanted]))
    torch.testing.assert_close(found[0], found[1], rtol=1e-10, atol=1e-10)


def test_frozen_weights_stay_without_gradient():
    steps = tiny()
    for parameter in steps[2].parameters():
        parameter.requires_grad_(False)
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    z, _ = Chain(steps)(x)
    (slope,) = torch.autograd.grad(z.square().sum(), x, create_graph=True)
    slope.sum().backward()
    assert steps[0].log_scale.grad is not None
    assert all(parameter.grad is None for parameter in steps[2].parameters())


@pytest.mark.parametrize("network", [{}, {"dropout": 0.1}, {"activation": torch.nn.ReLU}])
@pytest.mark.parametrize("context", [0, 2])
def test_one_node_stands_in_only_for_what_it_computes(network, context):
    coupling = tiny(context, **network)[2]
    given = torch.zeros(3, 2) if context else None
    half = torch.zeros(3, 2)
    assert norm_dense.fits(coupling, half, given) is (not network and not context)
    with torch.autocast("cpu", torch.bfloat16):
        assert not norm_dense.fits(coupling, half, given)


@pytest.mark.parametrize("place", ["net", "net.layers", "net.layers.1"])
def test_hooks_inside_a_coupling_network_run(place):
    steps, seen = tiny(), []
    steps[2].get_submodule(place).register_forward_hook(lambda *_: seen.append(place))
    Chain(steps)(torch.randn(3, 4, dtype=torch.float64))
    assert seen == [place]


def test_a_parametrized_layer_is_not_passed_by():
    steps = tiny()
    torch.nn.utils.parametrizations.weight_norm(steps[2].net.layers[0])
    x = torch.randn(3, 4, dtype=torch.float64)
    assert not norm_dense.fits(steps[2], x[:, :2], None)
    torch.testing.assert_close(Chain(steps)(x), CompositeTransform(steps)(x))
