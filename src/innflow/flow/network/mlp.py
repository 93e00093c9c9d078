"""Multilayer perceptrons as coupling networks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from innflow.errors import InnflowError
from innflow.flow.network.base import (
    has_hooks,
    need_context,
    zero,
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
        if (
            not self.items_last
            or type(last) is not nn.Linear
            or has_hooks(last)
            or has_hooks(self.layers)
        ):
            return self.layers(inputs)
        for layer in hidden:
            inputs = layer(inputs)
        return torch.mm(last.weight, inputs.t()).add_(last.bias[:, None]).t()
