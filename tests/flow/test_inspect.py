"""A look inside: what couplings do, at the places of the data where they do it."""

from __future__ import annotations

import pytest
import torch

from flow.zoo import FLOWS, built, draw
from innflow.flow import (
    Coupling,
    CouplingFlow,
    MaskedCoupling,
    dense,
    flat,
    glow,
    latent_layout,
    maps,
    masked,
    patches,
    realnvp,
    to_image_layout,
    trace,
    vector,
)
from innflow.flow.reshape import Squeeze

CASES = pytest.mark.parametrize("case", FLOWS.values(), ids=FLOWS.keys())


def couplings(flow: CouplingFlow) -> list[Coupling | MaskedCoupling]:
    return [m for m in flow.modules() if isinstance(m, Coupling | MaskedCoupling)]


@CASES
def test_trace_yields_every_coupling_once_and_ends_with_the_latent(case):
    flow, (x, context) = built(case, torch.float64), draw(case, torch.float64)
    seen = list(trace(flow, x, context))
    assert [each.index for each in seen] == list(range(len(couplings(flow))))
    levels = [level for level, m in enumerate(flow.levels) for _ in couplings(m)]
    assert [each.level for each in seen] == levels
    for each in seen:
        assert each.log_scale.shape == each.shift.shape == each.outputs.shape == x.shape
    z, _ = flow(x, context)
    # Not to the last bit: the flow itself scales and mixes features in one pass.
    torch.testing.assert_close(seen[-1].outputs, latent_layout(flow, z), rtol=0, atol=1e-12)


@CASES
def test_log_scales_add_up_to_the_logabsdet_of_couplings(case):
    """All else that has one is at its start, where it has none."""
    flow, (x, context) = case.make().double(), draw(case, torch.float64)
    for coupling in couplings(flow):
        for parameter in coupling.net.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    _, logabsdet = flow(x, context)
    total = sum(each.log_scale.flatten(1).sum(dim=1) for each in trace(flow, x, context))
    assert logabsdet.abs().max() > 1e-3
    torch.testing.assert_close(total, logabsdet, rtol=1e-5, atol=1e-6)  # rotations in float32


@CASES
def test_trace_of_a_coupling_gives_its_log_scale_and_shift(case):
    """Affine couplings in a row, with nothing between but what has no place: y = x exp(s) + t."""
    flow, (x, context) = built(case, torch.float64), draw(case, torch.float64)
    for coupling in couplings(flow):
        shape, given = coupling_input(flow, coupling, x, context)
        outputs, log_scale, shift = coupling.trace(shape, given)
        expected, logabsdet = coupling(shape, given)
        assert torch.equal(outputs, expected)
        torch.testing.assert_close(log_scale.flatten(1).sum(dim=1), logabsdet)
        assert (((outputs - shape) != 0) <= ((log_scale != 0) | (shift != 0))).all()
        if type(coupling.univariate).__name__ == "Affine":
            torch.testing.assert_close(shape * log_scale.exp() + shift, outputs)
        else:
            torch.testing.assert_close(shape + shift, outputs)


def coupling_input(flow, coupling, x, context):
    """Return the inputs and the context of a coupling when data runs through its flow."""
    caught = []
    hook = coupling.register_forward_pre_hook(lambda module, args: caught.append(args))
    with torch.no_grad():
        flow(x, context)
    hook.remove()
    return caught[0]


@pytest.mark.parametrize(
    "flow",
    [
        flat((3, 4, 4), depth=3, hidden=(4,)),
        realnvp((2, 8, 8), levels=3, depth=2, hidden=4),
        masked((1, 7, 5), depth=4, hidden=4),
    ],
)
def test_trace_of_an_untrained_flow_is_the_image_itself(flow):
    """At its start: squeezes, splits and permutations are undone, whatever the depth."""
    x = torch.randn(3, *flow.shape)
    for seen in trace(flow, x):
        assert torch.equal(seen.outputs, x)
        assert (seen.log_scale == 0).all()
        assert (seen.shift == 0).all()
    torch.testing.assert_close(latent_layout(flow, flow(x)[0]), x, rtol=0, atol=0)


@pytest.mark.parametrize(
    "flow",
    [
        glow((2, 8, 8), levels=3, depth=1, hidden=4),
        patches((1, 8, 8), patch=4, depth=1, hidden=4),
        dense((1, 4, 4), levels=2, depth=1, hidden=(4,)),
    ],
)
def test_the_layout_is_one_to_one(flow):
    """Every latent has a place of its own, and squeezes and splits alone bring it back."""
    numbers = torch.arange(2.0 * flow.features).view(2, -1)
    placed = latent_layout(flow, numbers)
    assert placed.shape == (2, *flow.shape)
    assert torch.equal(placed.flatten(1).sort(dim=1).values, numbers)


def test_latent_layout_inverts_squeezes_and_splits():
    flow = glow((1, 8, 8), levels=2, depth=1, hidden=4)
    x = torch.arange(64.0).view(1, 1, 8, 8)
    whole, _ = Squeeze()(x)
    kept, finished = whole.chunk(2, dim=1)
    deepest, _ = Squeeze()(kept)
    assert torch.equal(to_image_layout(flow, 0, whole, []), x)
    assert torch.equal(to_image_layout(flow, 1, deepest, [finished]), x)
    latent = torch.cat((finished.flatten(1), deepest.flatten(1)), dim=1)
    assert torch.equal(latent_layout(flow, latent), x)


def test_trace_is_zero_at_factored_out_features():
    flow = built(FLOWS["glow"])
    x = torch.randn(2, 3, 4, 4)
    first = [seen for seen in trace(flow, x) if seen.level == 0]
    deeper = [seen for seen in trace(flow, x) if seen.level == 1]
    gone = torch.cat((torch.zeros(2, 6, 2, 2), torch.ones(2, 6, 2, 2)), dim=1)
    gone = to_image_layout(flow, 0, gone, []).bool()
    for seen in deeper:
        assert (seen.log_scale[gone] == 0).all()
        assert (seen.shift[gone] == 0).all()
        assert torch.equal(seen.outputs[gone], first[-1].outputs[gone])
    assert (torch.stack([s.log_scale for s in deeper]) != 0).any(dim=0)[~gone].any()


def test_trace_of_a_quadrant_is_placed_at_the_quadrant():
    flow = built(FLOWS["masked_cycle"])
    x = torch.randn(2, *flow.shape)
    for seen, coupling in zip(trace(flow, x), couplings(flow), strict=True):
        expected = coupling.changes.expand_as(seen.shift)
        assert torch.equal(seen.shift != 0, expected)
        assert torch.equal(seen.log_scale != 0, expected)


def test_trace_of_a_patch_is_placed_at_the_patch():
    flow = built(FLOWS["glow_patches"], torch.float64)
    x = torch.randn(1, *flow.shape, dtype=torch.float64)
    moved = x.clone()
    moved[:, :, :4] += 1
    for before, after in zip(trace(flow, x), trace(flow, moved), strict=True):
        differs = (before.outputs != after.outputs)[0, 0]
        assert differs[:4].all()
        assert not differs[4:].any()


def test_trace_of_vectors_keeps_the_order_at_the_coupling():
    flow = vector(5, depth=2, hidden=(4,))
    x = torch.randn(3, 5)
    first, second = trace(flow, x)
    steps = flow.levels[0]._transforms
    torch.testing.assert_close(first.outputs, steps[1](x)[0])
    z, _ = flow(x)
    torch.testing.assert_close(second.outputs, z)
    assert torch.equal(latent_layout(flow, z), z)


def test_trace_changes_no_state_and_builds_no_graph():
    flow = built(FLOWS["glow"]).train()
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    before = {name: value.clone() for name, value in flow.state_dict().items()}
    assert not any(seen.outputs.requires_grad for seen in trace(flow, x))
    assert flow.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in flow.modules())
    assert all(torch.equal(before[name], value) for name, value in flow.state_dict().items())


def test_latent_layout_of_feature_maps_keeps_positions():
    flow = maps((4, 3, 2), depth=1, hidden=4)
    z = torch.randn(2, 24)
    assert torch.equal(latent_layout(flow, z), z.view(2, 4, 3, 2))
