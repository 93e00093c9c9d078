"""Multilayer perceptrons as coupling networks."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from innflow.errors import InnflowError
from innflow.flow.network.base import need_context, zero


class MLP(nn.Module):
    """A multilayer perceptron on vectors (B, inputs) with the context appended.

    Args:
        inputs: number of features of x.
        outputs: number of features returned.
        context: number of context features.
        hidden: widths of the hidden layers, at least one.
        activation: class of the nonlinearity.
        dropout: rate after every hidden layer, against overfitting on small training sets; none
            adds no dropout layers.

    Raises:
        InnflowError: if a width or the rate is out of range.

    Example:
        >>> MLP(2, 4, context=3, hidden=(16,))(torch.randn(5, 2), torch.randn(5, 3)).shape
        torch.Size([5, 4])
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
            raise InnflowError(f"mlp: dropout={dropout}: must be a share in [0, 1)")
        self.context = context
        sizes = (inputs + context, *hidden)
        layers: list[nn.Module] = []
        for width, following in pairwise(sizes):
            layers += [nn.Linear(width, following), activation()]
            if dropout is not None:
                layers.append(nn.Dropout(dropout))
        self.layers = nn.Sequential(*layers, zero(nn.Linear(sizes[-1], outputs)))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map (B, inputs) and (B, context) to (B, outputs)."""
        need_context(context, self.context, "mlp")
        return self.layers(x if context is None else torch.cat((x, context), dim=1))
