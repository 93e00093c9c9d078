"""A chain is nflows' composite, in fewer passes."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from nflows.transforms.base import CompositeTransform

from innflow.flow import MLP, ActNorm, ConvNet, Coupling, LULinear, Permute
from innflow.flow.chain import Chain
from innflow.flow.permute import mixing_order
from innflow.flow.squeeze import Squeeze

from .zoo import perturb

conv = partial(ConvNet, hidden=4)

CHAINS = {
    "permutations": (
        lambda: [ActNorm(5), Permute(mixing_order(5, 0)), Coupling(5, partial(MLP, hidden=(8,)))],
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
