"""Properties of every transform and every flow."""

from __future__ import annotations

import pickle

import pytest
import torch
from nflows.transforms.base import Transform
from torch._dynamo.testing import CompileCounter

from flow.zoo import ALL, FLOWS, TRANSFORMS, Case, built, draw
from innflow.flow import CouplingFlow

ONE_PER_BUILDER = ("vector_spline", "flat", "glow_grey", "realnvp_context")
ONE_PER_BUILDER += ("glow_dense", "glow_patches", "masked_cycle", "tokens")
"""Tracing takes seconds."""


def cases(table: dict[str, Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", table.values(), ids=table.keys())


def jacobian_logdet(transform, x, context):
    """Return log|det| of the autograd Jacobian at one input (1, ...): row i from copy i of it."""
    copies = x.repeat(x.numel(), *(1,) * (x.dim() - 1)).requires_grad_()
    contexts = None if context is None else context.expand(len(copies), -1)
    outputs = transform(copies, contexts)[0].flatten(1)
    (rows,) = torch.autograd.grad(outputs.diagonal().sum(), copies)
    return torch.linalg.slogdet(rows.flatten(1)).logabsdet


@cases(ALL)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-4), (torch.float64, 1e-9)])
def test_inverse_undoes_forward_and_its_logabsdet(case, dtype, bound):
    transform, (x, context) = built(case, dtype), draw(case, dtype, batch=16)
    z, logabsdet = transform(x, context)
    back, inverse_logabsdet = transform.inverse(z, context)
    assert z.dtype == logabsdet.dtype == dtype
    assert logabsdet.shape == inverse_logabsdet.shape == (16,)
    assert (back - x).abs().max() < bound
    assert (logabsdet + inverse_logabsdet).abs().max() < bound * max(1, x[0].numel() ** 0.5)


@cases(ALL)
def test_forward_undoes_inverse(case):
    transform, (x, context) = built(case, torch.float64), draw(case, torch.float64)
    z = torch.randn_like(transform(x, context)[0])
    again, _ = transform(transform.inverse(z, context)[0], context)
    assert (again - z).abs().max() < 1e-9


@cases(ALL)
def test_logabsdet_is_that_of_the_autograd_jacobian(case):
    transform, (x, context) = built(case, torch.float64), draw(case, torch.float64, batch=1)
    z, logabsdet = transform(x, context)
    assert abs(logabsdet - jacobian_logdet(transform, x, context)) < 1e-8
    _, logabsdet = transform.inverse(z, context)
    assert abs(logabsdet - jacobian_logdet(transform.inverse, z.detach(), context)) < 1e-8


@cases(ALL)
def test_items_of_a_batch_are_independent(case):
    transform, (x, context) = built(case, torch.float64), draw(case, torch.float64, batch=4)
    z, logabsdet = transform(x, context)
    alone, alone_logabsdet = transform(x[2:3], None if context is None else context[2:3])
    torch.testing.assert_close(alone, z[2:3], rtol=0, atol=1e-12)
    torch.testing.assert_close(alone_logabsdet, logabsdet[2:3], rtol=0, atol=1e-12)


@cases(ALL)
def test_an_empty_batch_goes_through(case):
    transform, (x, context) = built(case), draw(case)
    z, logabsdet = transform(x[:0], None if context is None else context[:0])
    assert z.shape[0] == 0
    assert logabsdet.shape == (0,)


@cases(ALL)
def test_is_a_transform_of_nflows(case):
    assert isinstance(case.make(), Transform)


@cases({name: case for name, case in ALL.items() if any(True for _ in case.make().parameters())})
def test_every_parameter_has_a_finite_gradient(case):
    transform, (x, context) = built(case, torch.float64), draw(case, torch.float64)
    z, logabsdet = transform(x, context)
    ((z * torch.randn_like(z)).sum() + logabsdet.sum()).backward()
    for name, parameter in transform.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


@cases(ALL)
def test_state_dict_determines_the_transform(case):
    transform, (x, context) = built(case), draw(case)
    torch.manual_seed(99)
    other = case.make()
    other.load_state_dict(transform.state_dict())
    for ours, theirs in zip(transform(x, context), other(x, context), strict=True):
        assert torch.equal(ours, theirs)
    twin = pickle.loads(pickle.dumps(transform))
    assert torch.equal(twin(x, context)[0], transform(x, context)[0])


@cases(ALL)
def test_initialisation_is_deterministic_given_a_seed(case):
    torch.manual_seed(5)
    first = case.make().state_dict()
    torch.manual_seed(5)
    second = case.make().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@cases(FLOWS)
def test_at_initialisation_the_log_determinant_is_zero(case):
    flow, (x, context) = case.make(), draw(case)
    z, logabsdet = flow(x, context)
    assert logabsdet.abs().max() < 1e-4
    torch.testing.assert_close(z.square().sum(1), x.flatten(1).square().sum(1))  # rotations only


@cases({name: case for name, case in FLOWS.items() if "glow" not in name})
def test_at_initialisation_outputs_are_a_permutation_of_the_inputs(case):
    flow, (x, context) = case.make(), draw(case)
    z, _ = flow(x, context)
    assert torch.allclose(z.sort(dim=1).values, x.flatten(1).sort(dim=1).values, atol=1e-5)


@cases({name: case for name, case in ALL.items() if case.context})
def test_context_matters_in_both_directions(case):
    flow, (x, context) = built(case), draw(case)
    z, _ = flow(x, context)
    assert not torch.allclose(flow(x, context + 1)[0], z)
    assert not torch.allclose(flow.inverse(z, context + 1)[0], x)


@cases({name: case for name, case in ALL.items() if case.context})
def test_a_context_that_is_missing_or_of_another_size_is_refused(case, refused):
    flow, (x, context) = case.make(), draw(case)
    for call in (flow, flow.inverse):
        inputs = x if call is flow else flow(x, context)[0]
        with refused(f"context={case.context}", "called with 0"):
            call(inputs)
        with refused(f"context={case.context}", f"called with {case.context + 1}"):
            call(inputs, torch.cat((context, context[:, :1]), dim=1))


@cases({name: case for name, case in FLOWS.items() if not case.context})
def test_context_of_an_unconditional_flow_is_refused(case, refused):
    flow, (x, _) = case.make(), draw(case)
    with refused("context=0", "called with 4"):
        flow(x, torch.zeros(3, 4))


@cases(FLOWS)
def test_another_shape_is_refused(case, refused):
    flow, (_, context) = case.make(), draw(case)
    wrong = torch.zeros(3, case.shape[0] + 1, *case.shape[1:])
    with refused(f"inputs have shape {tuple(wrong.shape[1:])}", f"expected {case.shape}"):
        flow(wrong, context)
    with refused(f"inputs have shape {tuple(wrong.shape[1:])}"):
        flow.terms(wrong, context)
    with refused(f"latents have shape ({flow.features + 1},)", f"expected ({flow.features},)"):
        flow.inverse(torch.zeros(3, flow.features + 1), context)


@cases(FLOWS)
def test_terms_are_the_parts_of_the_whole(case):
    flow, (x, context) = built(case), draw(case)
    assert isinstance(flow, CouplingFlow)
    z, logabsdet = flow(x, context)
    latents, shares = zip(*flow.terms(x, context), strict=True)
    assert torch.equal(torch.cat(latents, dim=1), z)
    assert torch.equal(torch.stack(shares).sum(dim=0), logabsdet)
    sizes = [torch.Size(shape).numel() for shape in flow.latent_shapes]
    assert [latent.shape[1] for latent in latents] == sizes
    assert sum(sizes) == flow.features == z.shape[1]


@pytest.mark.representatives("vector_spline", "glow_dense")
@cases({name: FLOWS[name] for name in ONE_PER_BUILDER})
def test_compiles_to_one_graph_both_ways(case):
    """Graph breaks cost more time than small layers."""
    torch._dynamo.reset()
    flow, (x, context) = built(case).double(), draw(case)  # else rounding would hide differences
    x, context = x.double(), None if context is None else context.double()
    z, logabsdet = flow(x, context)
    back, inverse_logabsdet = flow.inverse(z, context)
    for eager, function, inputs in (
        ((z, logabsdet), flow, x),
        ((back, inverse_logabsdet), flow.inverse, z),
    ):
        counter = CompileCounter()
        compiled = torch.compile(function, backend=counter, fullgraph=True, dynamic=False)
        with torch.no_grad():
            outputs = compiled(inputs.detach(), context)
        assert counter.frame_count == 1
        for ours, theirs in zip(outputs, eager, strict=True):
            torch.testing.assert_close(ours, theirs.detach())


@cases(ALL)
def test_under_autocast_trunk_and_logabsdet_stay_in_float32(case):
    transform, (x, context) = built(case), draw(case)
    with torch.autocast("cpu", torch.bfloat16):
        z, logabsdet = transform(x, context)
        back, inverse_logabsdet = transform.inverse(z, context)
    assert {t.dtype for t in (z, logabsdet, back, inverse_logabsdet)} == {torch.float32}
    # Only the coupling networks may differ, by the rounding of their outputs.
    exact, exact_logabsdet = transform(x, context)
    assert (z - exact).abs().max() < 0.3
    assert (logabsdet - exact_logabsdet).abs().max() < 0.02 * x[0].numel() + 0.02


@cases(TRANSFORMS)
def test_under_autocast_one_transform_is_inverted(case):
    """The network reads the same half in both directions and rounds it equally."""
    transform, (x, context) = built(case), draw(case, batch=16)
    with torch.autocast("cpu", torch.bfloat16):
        back, _ = transform.inverse(*_first(transform(x, context), context))
    assert (back - x).abs().max() < 1e-4


@cases(FLOWS)
def test_under_autocast_a_flow_is_inverted_up_to_rounding(case):
    """Inputs of the networks differ in the last bit and may round differently.

    With autocast outside of the networks the error would be 1 and more.
    """
    flow, (x, context) = built(case), draw(case, batch=16)
    with torch.autocast("cpu", torch.bfloat16):
        back, _ = flow.inverse(*_first(flow(x, context), context))
    assert (back - x).abs().max() < 0.03


def _first(outputs, context):
    return outputs[0], context
