"""Fast implementations agree with the plain layers, or leave the work to them."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from nflows.transforms.base import CompositeTransform
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from flow.zoo import FLOWS, built, draw, perturb
from innflow.flow import MLP, ActNorm, Coupling, MaskedCoupling, Permute, Spline, fused, vector
from innflow.flow.fused import dispatch, spline
from innflow.flow.mask import checkerboard
from innflow.flow.permute import mixing_order

DOUBLE = torch.float64
SMALL = ("vector_affine", "vector_spline", "vector_context", "glow_spline", "realnvp_spline")
SMALL += ("glow_patches_context", "masked_vertical", "flat_spline")


def plain(flow, x, context=None):
    """Run a flow through its plain layers alone."""
    total, parts, kept = 0, [], x
    for index, level in enumerate(flow.levels):
        kept, logabsdet = level(kept, context)
        total = total + logabsdet
        if index < len(flow.levels) - 1:
            kept, finished = kept.chunk(2, dim=1)
            parts.append(finished.flatten(1))
    return torch.cat((*parts, kept.flatten(1)), dim=1), total


def steps(univariate=None, context=0, features=4, **network):
    """Return ActNorm, permutation and coupling by a small MLP, perturbed, in double precision."""
    subnet = partial(MLP, hidden=(5, 3), **network)
    made = [
        ActNorm(features),
        Permute(mixing_order(features, 0)),
        Coupling(features, subnet, univariate, context),
    ]
    return [perturb(step.double(), 0.3) for step in made]


def derivatives(run, flow, x, context):
    """Return outputs, first derivatives, and derivatives of the squared gradient by x."""
    x = x.clone().requires_grad_()
    wanted = [x, *flow.parameters()]
    if context is not None:
        context = context.clone().requires_grad_()
        wanted.append(context)
    z, logabsdet = run(x, context)
    loss = (z.square().sum(1) * logabsdet.cos()).sum()
    first = torch.autograd.grad(loss, wanted, retain_graph=True)
    (grad_x,) = torch.autograd.grad(loss, x, create_graph=True)
    penalty = grad_x.square().sum()
    return z, logabsdet, first, torch.autograd.grad(penalty, wanted, materialize_grads=True)


# PyTorch's attention has no second derivative on the CPU, nor one in forward mode.
TWICE = {name: case for name, case in FLOWS.items() if "tokens" not in name}


@pytest.mark.parametrize("reversible", [False, True])
@pytest.mark.parametrize("case", TWICE.values(), ids=TWICE.keys())
def test_values_and_derivatives_agree_with_the_plain_layers(case, reversible):
    flow, (x, context) = built(case, DOUBLE), draw(case, DOUBLE)
    expected = derivatives(partial(plain, flow), flow, x, context)
    flow.reversible = reversible
    found = derivatives(flow, flow, x, context)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("case", FLOWS.values(), ids=FLOWS.keys())
def test_inverse_agrees_with_the_plain_layers(case):
    flow, (x, context) = built(case, DOUBLE), draw(case, DOUBLE)
    level = flow.levels[0]
    z, _ = level(3 * x, context)
    expected = level.inverse(z, context)
    for enabled in (True, False):
        with torch.set_grad_enabled(enabled):
            found = fused.inverse(level, z, context)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("univariate", [None, Spline(4)], ids=["affine", "spline"])
def test_second_derivatives_pass_gradgradcheck(univariate, context):
    composite = CompositeTransform(steps(univariate, context))
    values = [torch.randn(3, size, dtype=DOUBLE, requires_grad=True) for size in (4, context)]
    used = values if context else values[:1]
    assert torch.autograd.gradgradcheck(lambda *args: fused.forward(composite, *args), used)


@pytest.mark.parametrize("reversible", [False, True])
def test_hessian_of_a_spline_flow_is_symmetric_and_that_of_finite_differences(reversible):
    flow = perturb(vector(2, depth=2, hidden=(4,), coupling="spline").double())
    flow.reversible = reversible
    x = torch.tensor([0.3, -0.4], dtype=DOUBLE)

    def log_prob(point):
        z, logabsdet = flow(point[None])
        return (logabsdet - 0.5 * z.square().sum(1)).sum()

    def gradient(point):
        point = point.clone().requires_grad_()
        return torch.autograd.grad(log_prob(point), point)[0]

    hessian = torch.autograd.functional.hessian(log_prob, x)
    torch.testing.assert_close(hessian, hessian.T)
    shifts = 1e-5 * torch.eye(2, dtype=DOUBLE)
    columns = [(gradient(x + shift) - gradient(x - shift)) / 2e-5 for shift in shifts]
    torch.testing.assert_close(hessian, torch.stack(columns, dim=1), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reversible", [False, True])
@pytest.mark.parametrize("name", ["vector_spline", "vector_affine"])
def test_gradient_penalty_reaches_every_parameter(name, reversible):
    flow, (x, context) = built(FLOWS[name], DOUBLE), draw(FLOWS[name], DOUBLE)
    found = []
    for run in (flow, partial(plain, flow)):
        flow.reversible = reversible and run is flow
        inputs = x.clone().requires_grad_()
        z, logabsdet = run(inputs, context)
        log_prob = (logabsdet - 0.5 * z.square().sum(1)).sum()
        (grad_x,) = torch.autograd.grad(log_prob, inputs, create_graph=True)
        penalty = grad_x.square().sum(1).mean()
        found.append(torch.autograd.grad(penalty, list(flow.parameters()), materialize_grads=True))
    torch.testing.assert_close(found[0], found[1], rtol=1e-8, atol=1e-9)
    assert sum(bool((grad != 0).any()) for grad in found[0]) > len(found[0]) / 2


@pytest.mark.parametrize("name", SMALL)
def test_torch_func_agrees_with_the_plain_layers(name):
    case = FLOWS[name]
    flow, (x, context) = built(case, DOUBLE), draw(case, DOUBLE, batch=2)

    def one(run):
        def log_prob(point, given):
            z, logabsdet = run(point[None], None if given is None else given[None])
            return (logabsdet - 0.5 * z.square().sum(1)).sum()

        return log_prob

    for transform in (
        torch.func.grad,
        lambda function: torch.func.grad(lambda p, g: torch.func.grad(function)(p, g).sum()),
        torch.func.jacfwd,
    ):
        results = [
            torch.func.vmap(transform(one(run)), in_dims=(0, None if context is None else 0))(
                x, context
            )
            for run in (flow, partial(plain, flow))
        ]
        torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("name", ["vector_affine", "vector_spline"])
def test_hessian_of_torch_func_agrees_with_autograd(name):
    flow = built(FLOWS[name], DOUBLE)
    x = torch.randn(flow.features, dtype=DOUBLE)

    def log_prob(point):
        z, logabsdet = flow(point[None])
        return (logabsdet - 0.5 * z.square().sum(1)).sum()

    expected = torch.autograd.functional.hessian(log_prob, x)
    torch.testing.assert_close(torch.func.hessian(log_prob)(x), expected)


@pytest.mark.parametrize("name", ["vector_affine", "vector_spline", "glow_spline"])
def test_jacobians_of_batched_gradients_agree(name):
    flow, (x, _) = built(FLOWS[name], DOUBLE), draw(FLOWS[name], DOUBLE, batch=1)
    found = [
        torch.autograd.functional.jacobian(lambda v: flow(v)[0], x, vectorize=vectorize)
        for vectorize in (False, True)
    ]
    torch.testing.assert_close(found[0], found[1])


def test_forward_mode_differentiation_agrees():
    flow, (x, _) = built(FLOWS["vector_spline"], DOUBLE), draw(FLOWS["vector_spline"], DOUBLE)
    direction = torch.randn_like(x)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, direction)
        found = torch.autograd.forward_ad.unpack_dual(flow(dual)[0]).tangent
    _, expected = torch.autograd.functional.jvp(lambda v: plain(flow, v)[0], x, direction)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["vector_affine", "vector_context", "glow_spline", "glow_patches"])
def test_a_forward_hook_of_any_inner_layer_runs_once(name):
    flow, (x, context) = built(FLOWS[name]), draw(FLOWS[name])
    for place, module in flow.named_modules():
        if place == "" or isinstance(module, nn.ModuleList):
            continue
        calls = []
        handle = module.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        z, _ = flow(x, context)
        handle.remove()
        assert len(calls) == 1, place
        torch.testing.assert_close(z, flow(x, context)[0])


def test_global_hooks_run_for_every_layer():
    flow, (x, _) = built(FLOWS["vector_affine"]), draw(FLOWS["vector_affine"])
    kinds = []
    handle = register_module_forward_hook(lambda module, *_: kinds.append(type(module)))
    try:
        flow(x)
    finally:
        handle.remove()
    assert kinds.count(ActNorm) == kinds.count(Permute) == kinds.count(MLP) == 3


@pytest.fixture
def calls(monkeypatch):
    """Return the list of fast implementations that run."""
    names: list[str] = []
    step, forward = dispatch.coupling_step, spline.forward
    monkeypatch.setattr(
        dispatch, "coupling_step", lambda *args: names.append("step") or step(*args)
    )
    monkeypatch.setattr(spline, "forward", lambda *args: names.append("spline") or forward(*args))
    return names


@pytest.mark.parametrize("univariate", [None, Spline(4)], ids=["affine", "spline"])
@pytest.mark.parametrize("context", [0, 2])
@pytest.mark.parametrize("network", [{}, {"dropout": 0.1}, {"activation": nn.ReLU}])
def test_the_step_runs_for_its_networks_only(network, context, univariate, calls):
    composite = CompositeTransform(steps(univariate, context=context, **network))
    x = torch.randn(3, 4, dtype=DOUBLE)
    given = torch.randn(3, 2, dtype=DOUBLE) if context else None
    otherwise = [] if univariate is None else ["spline"]
    fused.forward(composite, x, given)
    assert calls == (otherwise if network else ["step"])
    calls.clear()
    with torch.autocast("cpu", torch.bfloat16):
        fused.forward(composite, x, given)
    assert calls == otherwise


def test_the_spline_runs_for_both_couplings(calls):
    masked = MaskedCoupling(1, checkerboard(2, 2), partial(nn_zero, features=1), Spline(4))
    fused.forward(masked, torch.randn(3, 1, 2, 2))
    fused.forward(steps(Spline(4))[2], torch.randn(3, 4, dtype=DOUBLE))
    assert calls == ["spline", "spline"]


def nn_zero(inputs, outputs, context=0, features=1):
    class Net(nn.Conv2d):
        def forward(self, x, context=None):
            return super().forward(x)

    return Net(inputs, outputs, 1)


def test_a_subclass_runs_its_own_forward(calls):
    class Doubling(ActNorm):
        def forward(self, inputs, context=None):
            return 2 * inputs, inputs.new_zeros(len(inputs))

    _, permute, coupling = steps()
    composite = CompositeTransform([Doubling(4).double(), permute, coupling])
    x = torch.randn(3, 4, dtype=DOUBLE)
    torch.testing.assert_close(fused.forward(composite, x), composite(x))
    assert calls == []


def test_a_forward_that_is_set_on_the_object_runs():
    _, permute, coupling = steps()
    norm = ActNorm(4).double()
    norm.forward = lambda inputs, context=None: (2 * inputs, inputs.new_zeros(len(inputs)))
    composite = CompositeTransform([norm, permute, coupling])
    x = torch.randn(3, 4, dtype=DOUBLE)
    torch.testing.assert_close(fused.forward(composite, x), composite(x))


def test_a_parametrized_layer_runs_with_its_parametrization(calls):
    made = steps()
    torch.nn.utils.parametrizations.weight_norm(made[2].net.layers[0])
    composite = CompositeTransform(made)
    x = torch.randn(3, 4, dtype=DOUBLE)
    torch.testing.assert_close(fused.forward(composite, x), composite(x))
    assert calls == []


def test_a_loaded_permutation_is_applied():
    composites = [CompositeTransform(steps()) for _ in range(2)]
    composites[0].load_state_dict(composites[1].state_dict())
    x = torch.randn(3, 4, dtype=DOUBLE)
    torch.testing.assert_close(fused.forward(composites[0], x), composites[1](x))


@pytest.mark.parametrize("reversible", [False, True])
def test_frozen_weights_get_no_gradient(reversible):
    made = steps()
    for parameter in made[2].parameters():
        parameter.requires_grad_(False)
    x = torch.randn(3, 4, dtype=DOUBLE, requires_grad=True)
    z, _ = fused.forward(CompositeTransform(made), x, None, reversible)
    (grad_x,) = torch.autograd.grad(z.square().sum(), x, create_graph=True)
    grad_x.sum().backward()
    assert made[0].log_scale.grad is not None
    assert all(parameter.grad is None for parameter in made[2].parameters())


@pytest.mark.parametrize("reversible", [False, True])
def test_a_layer_that_is_used_twice_gets_the_sum_of_its_gradients(reversible):
    made = steps() + steps(Spline(4))
    composite = CompositeTransform([*made, *made])
    x = torch.randn(3, 4, dtype=DOUBLE)
    results = []
    for run in (composite, partial(fused.forward, composite, reversible=reversible)):
        results.append(derivatives(run, composite, x, None))
    torch.testing.assert_close(results[1], results[0], rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("univariate", [None, Spline(4)], ids=["affine", "spline"])
def test_weights_changed_between_the_passes_are_refused(univariate):
    composite = CompositeTransform(steps(univariate))
    z, _ = fused.forward(composite, torch.randn(3, 4, dtype=DOUBLE))
    with torch.no_grad():
        for parameter in composite.parameters():
            parameter.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


@pytest.mark.parametrize("univariate", [None, Spline(4)], ids=["affine", "spline"])
@pytest.mark.parametrize("output", [0, 1])
def test_gradients_of_one_output_agree(univariate, output):
    composite = CompositeTransform(steps(univariate))
    x = torch.randn(3, 4, dtype=DOUBLE, requires_grad=True)
    found = [
        torch.autograd.grad(run(x)[output].sin().sum(), [x, *composite.parameters()],
                            allow_unused=True, materialize_grads=True)
        for run in (composite, partial(fused.forward, composite))
    ]  # fmt: skip
    torch.testing.assert_close(found[1], found[0])


@pytest.mark.parametrize("name", ["vector_affine", "vector_spline", "glow_spline"])
def test_autocast_agrees_with_the_plain_layers(name):
    flow, (x, context) = built(FLOWS[name]), draw(FLOWS[name])
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = flow(x, context), plain(flow, x, context)
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)


def test_a_spline_flow_takes_fewer_operations_than_its_plain_layers():
    flow = vector(32, depth=2, hidden=(8,), coupling="spline")
    x = torch.randn(64, 32)
    with torch.autograd.profiler.profile() as fast:
        flow(x)[0].sum().backward()
    with torch.autograd.profiler.profile() as slow:
        plain(flow, x)[0].sum().backward()
    assert len(fast.function_events) < 0.85 * len(slow.function_events)
