"""An MLP whose output lies item beside item is the same MLP."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from innflow.flow import MLP, Spline
from innflow.flow.coupling import Coupling


def pair(**options) -> tuple[MLP, MLP]:
    """Return a network as it is, and the same with its items last."""
    torch.manual_seed(0)
    made = []
    for _ in range(2):
        net = MLP(3, 22, hidden=(8, 8), **options)
        if made:
            net.load_state_dict(made[0].state_dict())
        else:
            nn.init.normal_(net.layers[-1].weight)
            nn.init.normal_(net.layers[-1].bias)
        made.append(net)
    made[1].items_last = True
    return made[0], made[1]


@pytest.mark.parametrize("context", [0, 2])
def test_items_last_changes_where_numbers_lie_and_nothing_else(context):
    first, last = (net.double() for net in pair(context=context))
    x = torch.randn(5, 3, dtype=torch.float64)
    given = torch.randn(5, context, dtype=torch.float64) if context else None
    results = []
    for net in (first, last):
        seen = x.clone().requires_grad_()
        out = net(seen, given)
        out.sin().sum().backward()
        results.append((out.detach(), seen.grad, *(p.grad for p in net.parameters())))
    torch.testing.assert_close(results[1], results[0])
    assert first(x, given).is_contiguous()
    assert last(x, given).stride() == (1, 5)


def test_items_last_keeps_the_precision_of_autocast():
    _, last = pair()
    with torch.autocast("cpu", torch.bfloat16):
        assert last(torch.randn(5, 3)).dtype == torch.bfloat16


@pytest.mark.parametrize("listen", ["last layer", "layers"])
def test_a_hook_is_called_with_items_last_too(listen):
    _, last = pair()
    has_hooks = []
    module = last.layers if listen == "layers" else last.layers[-1]
    module.register_forward_hook(lambda *parts: has_hooks.append(parts[2].shape))
    last(torch.randn(5, 3))
    assert has_hooks == [(5, 22)]


def test_a_spline_asks_for_items_last():
    assert Coupling(4, MLP, Spline()).net.items_last
    assert not Coupling(4, MLP).net.items_last
