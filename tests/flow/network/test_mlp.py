"""MLPs as coupling networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from innflow.flow import MLP


@pytest.mark.parametrize("context", [0, 2])
def test_context_is_appended_to_the_inputs(context):
    net = MLP(3, 4, context=context, hidden=(8,))
    nn.init.normal_(net.layers[-1].weight)
    x, given = torch.randn(5, 3), torch.randn(5, context) if context else None
    expected = net.layers(x if given is None else torch.cat((x, given), dim=1))
    assert torch.equal(net(x, given), expected)


def test_keeps_the_precision_of_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        assert MLP(3, 22)(torch.randn(5, 3)).dtype == torch.bfloat16


@pytest.mark.parametrize("place", ["last layer", "layers"])
def test_hooks_of_layers_are_called(place):
    net, shapes = MLP(3, 22, hidden=(8, 8)), []
    module = net.layers if place == "layers" else net.layers[-1]
    module.register_forward_hook(lambda *parts: shapes.append(parts[2].shape))
    net(torch.randn(5, 3))
    assert shapes == [(5, 22)]


def test_dropout_is_left_out_or_active_in_training():
    assert not any(isinstance(module, nn.Dropout) for module in MLP(3, 4).modules())
    net = MLP(3, 4, dropout=0.5)
    nn.init.normal_(net.layers[-1].weight)
    x = torch.randn(5, 3)
    assert not torch.equal(net(x), net(x))
    assert torch.equal(net.eval()(x), net(x))
