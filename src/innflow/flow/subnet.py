"""Coupling networks: any function of the fixed half, with its last layer starting at 0.

Each maker is called as `subnet(inputs, outputs, context=0)`, and one whose signature asks for
`size` also with `size=(H, W)` of the images that its network will see. It gives a module called as
`net(x, context)`. No BatchNorm: it couples the items of a batch, and test likelihoods then swing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from inspect import signature
from itertools import pairwise

import torch
from torch import Tensor, nn

from innflow.errors import InnflowError


def zero(layer: nn.Linear | nn.Conv2d) -> nn.Linear | nn.Conv2d:
    """Set a layer to 0, so that the coupling that it ends starts as the identity."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def need_context(context: Tensor | None, features: int, where: str) -> None:
    """Raise unless a context of this many features is given."""
    got = 0 if context is None else context.shape[-1]
    if got != features:
        raise InnflowError(f"{where}: built for context={features} features, called with {got}")


def append_context(x: Tensor, context: Tensor | None, features: int, where: str) -> Tensor:
    """Return images (B, C, H, W) with a context (B, features) as constant channels."""
    need_context(context, features, where)
    if context is None:
        return x
    return torch.cat((x, context[:, :, None, None].expand(-1, -1, *x.shape[2:])), dim=1)


def need_sizes(where: str, **sizes: int) -> None:
    """Raise unless every size is at least 1."""
    for name, value in sizes.items():
        if value < 1:
            raise InnflowError(f"{where}: {name}={value} must be at least 1")


def for_size(subnet: Callable[..., nn.Module], size: Sequence[int]) -> Callable[..., nn.Module]:
    """Give a maker that asks for `size` the (H, W) of the images that its network will see."""
    if "size" not in signature(subnet).parameters:
        return subnet
    return partial(subnet, size=tuple(size))


def heard(module: nn.Module) -> bool:
    """Say whether someone listens to the calls of a module, which then has to be called."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


class MLP(nn.Module):
    """A multilayer perceptron on vectors (B, inputs), with the context appended.

    Dropout is for training sets that are small for the network; null leaves its layers out.

    Attributes:
        items_last: whether the output lies in memory item beside item, transposed, as a spline's
            many parameters a feature are read fastest.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        context: int = 0,
        hidden: Sequence[int] = (64, 64),
        activation: type[nn.Module] = nn.SiLU,
        dropout: float | None = None,
    ) -> None:
        super().__init__()
        if not hidden or min(hidden) < 1:
            raise InnflowError(f"mlp: hidden={list(hidden)} needs at least one width, each >= 1")
        if dropout is not None and not 0 <= dropout < 1:
            raise InnflowError(f"mlp: dropout={dropout}: takes a share in [0, 1)")
        self.context = context
        sizes = (inputs + context, *hidden)
        layers: list[nn.Module] = []
        for width, following in pairwise(sizes):
            layers += [nn.Linear(width, following), activation()]
            if dropout is not None:
                layers.append(nn.Dropout(dropout))
        self.layers = nn.Sequential(*layers, zero(nn.Linear(sizes[-1], outputs)))
        self.items_last = False

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map (B, inputs) and (B, context) to (B, outputs)."""
        need_context(context, self.context, "mlp")
        inputs = x if context is None else torch.cat((x, context), dim=1)
        *hidden, last = self.layers
        if not self.items_last or type(last) is not nn.Linear or heard(last) or heard(self.layers):
            return self.layers(inputs)
        for layer in hidden:
            inputs = layer(inputs)
        return torch.mm(last.weight, inputs.t()).add_(last.bias[:, None]).t()


class ConvNet(nn.Module):
    """3x3, 1x1, 3x3 convolutions on images, the network of Glow (arXiv:1807.03039).

    A context vector enters as constant channels.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        context: int = 0,
        hidden: int = 64,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        need_sizes("conv", hidden=hidden)
        self.context = context
        self.layers = nn.Sequential(
            nn.Conv2d(inputs + context, hidden, 3, padding=1),
            activation(),
            nn.Conv2d(hidden, hidden, 1),
            activation(),
            zero(nn.Conv2d(hidden, outputs, 3, padding=1)),
        )

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map (B, inputs, H, W) and (B, context) to (B, outputs, H, W)."""
        return self.layers(append_context(x, context, self.context, "conv"))
