"""The transformer as a coupling network: what it reads, where it starts, what it refuses."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from flow.zoo import perturb
from innflow.flow import Affine, Coupling, Spline, Transformer, glow, maps

tiny = partial(Transformer, hidden=8, blocks=2, heads=2)


def test_starts_at_zero_for_tokens_and_for_images():
    assert (tiny(3, 5, size=(6,))(torch.randn(2, 3, 6)) == 0).all()
    outputs = tiny(3, 5, size=(2, 4))(torch.randn(2, 3, 2, 4))
    assert outputs.shape == (2, 5, 2, 4)
    assert (outputs == 0).all()


def test_every_token_reads_all_others():
    net = perturb(tiny(3, 2, size=(4,))).double()
    x = torch.randn(1, 3, 4, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda v: net(v[None])[0], x[0])
    assert jacobian.shape == (2, 4, 3, 4)
    assert (jacobian.abs() > 1e-9).all()


def test_is_pre_norm_attention_and_an_mlp_of_four_times_the_width():
    """Compare with torch's own layer of the encoder with the same weights."""
    block = perturb(tiny(3, 2, size=(5,)).blocks[0]).double().eval()
    theirs = torch.nn.TransformerEncoderLayer(
        8, 2, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ).double()
    read, wide = block.attention, block.mlp
    pairs = {
        theirs.norm1: read[0],
        theirs.self_attn.out_proj: read[1].mix,
        theirs.norm2: wide[0],
        theirs.linear1: wide[1],
        theirs.linear2: wide[3],
    }
    for other, ours in pairs.items():
        other.load_state_dict(ours.state_dict())
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(read[1].query_key_value.weight)
        theirs.self_attn.in_proj_bias.copy_(read[1].query_key_value.bias)
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(block(x), theirs(x), rtol=1e-10, atol=1e-10)


def test_tokens_differ_by_their_learned_positions_alone():
    net = perturb(tiny(3, 2, size=(4,))).double()
    x = torch.randn(2, 3, 4, dtype=torch.float64)
    order = torch.tensor([2, 0, 3, 1])
    assert not torch.allclose(net(x[:, :, order]), net(x)[:, :, order])
    with torch.no_grad():
        net.positions.copy_(net.positions[:1].expand_as(net.positions))
    torch.testing.assert_close(net(x[:, :, order]), net(x)[:, :, order])


def test_context_enters_at_every_token(refused):
    net = perturb(tiny(3, 2, context=2, size=(4,)))
    x, context = torch.randn(2, 3, 4), torch.randn(2, 2)
    moved = context.clone()
    moved[0, 1] += 1
    change = net(x, moved) - net(x, context)
    assert (change[0] != 0).all()
    assert (change[1] == 0).all()
    with refused("transformer", "context=2", "called with 0"):
        net(x)


@pytest.mark.parametrize("univariate", [Affine(), Spline(bins=4)])
def test_couples_pixels_of_images(univariate):
    coupling = perturb(Coupling(5, partial(tiny, size=(2, 3)), univariate)).double()
    x = torch.randn(4, 5, 2, 3, dtype=torch.float64)
    y, logabsdet = coupling(x)
    back, inverse_logabsdet = coupling.inverse(y)
    assert (back - x).abs().max() < 1e-9
    assert (logabsdet + inverse_logabsdet).abs().max() < 1e-9


@pytest.mark.parametrize(
    "flow",
    [
        lambda: maps((4, 2, 3), depth=2, hidden=8, subnet=tiny),
        lambda: glow((1, 8, 8), levels=2, depth=1, hidden=8, subnet=tiny),
    ],
)
def test_is_a_network_for_the_other_flows_on_images(flow):
    flow = perturb(flow()).double()
    x = torch.randn(2, *flow.shape, dtype=torch.float64)
    z, _ = flow(x)
    assert (flow.inverse(z)[0] - x).abs().max() < 1e-9


@pytest.mark.parametrize(
    ("sizes", "fragments"),
    [
        ({"hidden": 10, "heads": 4}, ("hidden=10", "heads=4")),
        ({"hidden": 0}, ("hidden=0", "at least 1")),
        ({"blocks": 0}, ("blocks=0", "at least 1")),
        ({"heads": 0}, ("heads=0", "at least 1")),
    ],
)
def test_sizes_that_do_not_fit_are_refused_in_one_line(sizes, fragments, refused):
    with refused("transformer", *fragments):
        Transformer(3, 2, size=(4,), **sizes)
