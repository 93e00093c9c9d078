"""Flows on tokens: which steps, what they change, what they learn, what they refuse."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from flow.test_laws import jacobian_logdet
from flow.zoo import perturb
from innflow.flow import (
    ActNorm,
    Affine,
    Coupling,
    LULinear,
    PairTokens,
    Permute,
    Spline,
    Transformer,
    latent_layout,
    to_image_layout,
    tokens,
    trace,
)

tiny = partial(tokens, hidden=8, subnet=partial(Transformer, heads=2))
SPLITS = ["channels", "spatial", "checkerboard", "columns", "rows"]


def steps(flow):
    return list(flow.levels[0]._transforms)


def drawn(flow, batch: int = 3):
    return torch.randn(batch, *flow.shape, dtype=torch.float64)


@pytest.mark.parametrize("coupling", ["affine", Spline(bins=4, tail=3.0)])
@pytest.mark.parametrize("split", SPLITS)
def test_each_split_can_be_undone_and_its_logabsdet_is_that_of_the_jacobian(split, coupling):
    flow = perturb(tiny((2, 4, 4), patch=2, depth=2, splits=[split], coupling=coupling)).double()
    functions = [m.univariate for m in flow.modules() if isinstance(m, Coupling)]
    assert functions == [Affine() if coupling == "affine" else coupling] * 2
    x = drawn(flow)
    z, logabsdet = flow(x)
    assert z.shape == (3, 32)
    back, inverse_logabsdet = flow.inverse(z)
    assert (back - x).abs().max() < 1e-9
    assert (logabsdet + inverse_logabsdet).abs().max() < 1e-9
    noise = torch.randn_like(z)
    assert (flow(flow.inverse(noise)[0])[0] - noise).abs().max() < 1e-9
    assert logabsdet.abs().min() > 1e-3
    assert abs(logabsdet[0] - jacobian_logdet(flow, x[:1], None)) < 1e-8
    assert abs(inverse_logabsdet[0] - jacobian_logdet(flow.inverse, z[:1].detach(), None)) < 1e-8


def test_splits_repeat_and_spatial_alternates():
    flow = tiny((1, 8, 8), patch=2, depth=14, splits=["channels", "spatial"])
    kinds = [type(step).__name__ for step in steps(flow)]
    channels, spatial = ["Permute", "Coupling"], ["PairTokens", "Coupling", "UnpairTokens"]
    assert kinds == ["Patchify", "ActNorm", *(channels + spatial) * 7]
    first = [m.order[:8].tolist() for m in steps(flow) if type(m) is PairTokens]
    second = [m.order[8:].tolist() for m in steps(flow) if type(m) is PairTokens]
    assert first[::2] == second[1::2] + first[:1]  # pairs of one and the other half, and round
    assert len({tuple(half) for half in first}) == 6
    assert not [m for m in flow.modules() if isinstance(m, LULinear)]
    assert flow.latent_shapes == [(4, 16)]


def test_starts_as_the_identity_but_for_the_order():
    flow = tiny((3, 8, 8), patch=4, depth=6)
    x = torch.randn(2, 3, 8, 8)
    z, logabsdet = flow(x)
    assert torch.equal(logabsdet, torch.zeros(2))
    assert torch.equal(latent_layout(flow, z), x)


@pytest.mark.parametrize("splits", [["channels"], ["rows"], ["spatial"], ["channels", "spatial"]])
def test_two_rounds_change_and_read_every_pixel(splits):
    depth = 4 * len(splits)
    flow = perturb(tiny((2, 4, 4), patch=2, depth=depth, splits=splits), 0.5).double()
    x = drawn(flow, 1)
    changed = torch.stack([seen.shift[0] != 0 for seen in trace(flow, x)])
    assert changed.any(dim=0).all()
    assert changed.double().mean() == 0.5
    jacobian = torch.autograd.functional.jacobian(lambda v: flow(v)[0][0], x)
    assert (jacobian != 0).all()


def test_trace_of_a_token_is_placed_at_the_token():
    flow = perturb(tiny((2, 4, 4), patch=2, depth=2, splits=["checkerboard"])).double()
    first, second = trace(flow, drawn(flow, 1))
    board = torch.tensor([[0, 1], [1, 0]]).kron(torch.ones(2, 2, dtype=torch.int64)).bool()
    for seen, expected in ((first, board), (second, ~board)):
        assert torch.equal(seen.shift[0] != 0, expected.expand(2, 4, 4))
        assert torch.equal(seen.log_scale[0] != 0, expected.expand(2, 4, 4))


def test_traced_log_scales_and_shifts_add_up_to_the_flow():
    flow = perturb(tiny((1, 4, 8), patch=2, depth=6, splits=["channels", "spatial"])).double()
    x = drawn(flow)
    z, logabsdet = flow(x)
    seen = list(trace(flow, x))
    assert len(seen) == 6
    torch.testing.assert_close(seen[-1].outputs, latent_layout(flow, z))
    norm = next(m for m in flow.modules() if isinstance(m, ActNorm))
    inner = logabsdet - 8 * norm.log_scale.sum()  # of 8 tokens
    torch.testing.assert_close(sum(s.log_scale.sum(dim=(1, 2, 3)) for s in seen), inner)
    kept = z.unflatten(1, flow.latent_shapes[0])
    assert torch.equal(to_image_layout(flow, 0, kept, []), latent_layout(flow, z))


def test_permutations_are_deterministic_given_a_seed():
    def orders(seed):
        torch.manual_seed(seed)
        flow = tiny((1, 8, 8), patch=4, depth=10)
        return torch.cat([m.order for m in flow.modules() if isinstance(m, Permute | PairTokens)])

    assert torch.equal(orders(1), orders(1))
    assert not torch.equal(orders(1), orders(2))


def test_checkpoints_hold_the_permutations():
    flow = perturb(tiny((1, 4, 8), patch=2, depth=6))
    torch.manual_seed(99)
    other = tiny((1, 4, 8), patch=2, depth=6)
    other.load_state_dict(flow.state_dict())
    x = torch.randn(2, 1, 4, 8)
    for ours, theirs in zip(flow(x), other(x), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("splits", [["channels"], ["spatial"]])
def test_context_matters_in_both_directions(splits, refused):
    flow = perturb(tiny((1, 4, 4), patch=2, depth=2, splits=splits, context=3)).double()
    x, context = drawn(flow), torch.randn(3, 3, dtype=torch.float64)
    z, _ = flow(x, context)
    assert not torch.allclose(flow(x, context + 1)[0], z)
    assert not torch.allclose(flow.inverse(z, context + 1)[0], x)
    assert (flow.inverse(z, context)[0] - x).abs().max() < 1e-9
    with refused("context=3", "called with 0"):
        flow(x)


def test_under_autocast_only_the_networks_are_rounded():
    flow = perturb(tiny((2, 4, 4), patch=2, depth=4, splits=["channels", "spatial"]))
    x = torch.randn(4, 2, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        z, logabsdet = flow(x)
        back, _ = flow.inverse(z)
    assert z.dtype == logabsdet.dtype == back.dtype == torch.float32
    assert (back - x).abs().max() < 0.03


def test_a_few_training_steps_learn_a_scale_and_a_correlation():
    """Pixels of one grey value an image: far from independent, and of a small spread."""
    flow = tiny((1, 4, 4), patch=2, depth=4, splits=["channels", "spatial"])
    optimizer = torch.optim.AdamW(flow.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        x = 0.2 * torch.randn(64, 1, 1, 1) + 0.1 * torch.randn(64, 1, 4, 4)
        z, logabsdet = flow(x)
        nll = 0.5 * z.square().sum(dim=1) + 8 * math.log(2 * math.pi) - logabsdet
        loss = nll.mean() / 16
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # Independent pixels of this spread have 0.5 log(2 pi e 0.05) = -0.08 nats each.
    assert losses[0] > 0.9
    assert sum(losses[-5:]) / 5 < -0.4


@pytest.mark.parametrize(
    ("make", "fragments"),
    [
        (lambda: tokens((12,)), ("tokens: shape=(12,)",)),
        (lambda: tokens((1, 6, 8), patch=4), ("6x8", "patch=4")),
        (lambda: tokens((1, 8, 8), depth=0), ("depth=0", "at least 1")),
        (lambda: tokens((1, 12, 12)), ("9 tokens", "patch=4", "splits=[channels]")),
        (lambda: tokens((1, 8, 8), patch=1), ("patch=1", "1 feature", "splits=[spatial]")),
        (lambda: tokens((1, 8, 8), splits=["tiles"]), ("splits=['tiles']", "checkerboard")),
        (lambda: tokens((1, 8, 8), splits=[]), ("splits=[]",)),
        (lambda: tokens((1, 8, 8), coupling="cubic"), ("coupling='cubic'",)),
        (lambda: tokens((1, 8, 8), hidden=10), ("hidden=10", "heads=4")),
    ],
)
def test_bad_arguments_are_refused_in_one_line(make, fragments, refused):
    with refused(*fragments):
        make()


def test_odd_sizes_work_without_splits():
    flow = perturb(tiny((1, 6, 6), patch=2, depth=2, splits=["channels"])).double()
    assert flow.latent_shapes == [(4, 9)]
    x = drawn(flow)
    assert (flow.inverse(flow(x)[0])[0] - x).abs().max() < 1e-9
    flow = perturb(tiny((1, 2, 4), patch=1, depth=2, splits=["spatial"])).double()
    assert sum(isinstance(m, Coupling) for m in flow.modules()) == 2
    x = drawn(flow)
    assert (flow.inverse(flow(x)[0])[0] - x).abs().max() < 1e-9
