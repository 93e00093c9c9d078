"""A transform of some features, given the others."""

import torch
from nflows.transforms.base import Transform
from torch import Tensor

from innflow.errors import InnflowError
from innflow.flow.initialise import DataDependent, initialise


class GivenFirst(DataDependent):
    """Keep the first features and transform the others, with the first ones as the context.

    Data-dependent layers inside are initialised with the targets as context, where there are any:
    they are what the first features predict after training.

    Args:
        first: number of features that are kept, at least 1.
        transform: of the other features, with a context of `first` features.

    Raises:
        InnflowError: if no feature is kept.

    Example:
        >>> from innflow.flow import MLP, Coupling
        >>> given = GivenFirst(2, Coupling(4, MLP, context=2))
        >>> outputs, logabsdet = given(torch.randn(5, 6))
        >>> outputs.shape, logabsdet.shape
        (torch.Size([5, 6]), torch.Size([5]))
    """

    def __init__(self, first: int, transform: Transform) -> None:
        super().__init__()
        if first < 1:
            raise InnflowError(f"given first: first={first}: must be at least 1")
        self.first, self.transform = first, transform

    @torch.no_grad()
    def initialise(
        self, inputs: Tensor, context: Tensor | None = None, targets: Tensor | None = None
    ) -> None:
        """Initialise the layers inside from inputs (B, F) and targets (B, first)."""
        first, others = self.split(inputs)
        initialise(self.transform, others, first if targets is None else targets)
        self.initialised.fill_(True)

    def split(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the first features (B, first) and the others."""
        return inputs[:, : self.first], inputs[:, self.first :]

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, F) to outputs and logabsdet (B,)."""
        first, others = self.split(inputs)
        outputs, logabsdet = self.transform(others, first)
        return torch.cat((first, outputs), dim=1), logabsdet

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map outputs of `forward` to its inputs and logabsdet (B,)."""
        first, others = self.split(inputs)
        outputs, logabsdet = self.transform.inverse(others, first)
        return torch.cat((first, outputs), dim=1), logabsdet

    def trace(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return outputs, log-scale and shift, (B, F) each, of a coupling inside."""
        first, others = self.split(inputs)
        outputs, *changes = self.transform.trace(others, first)
        none = torch.zeros_like(first)
        log_scale, shift = (torch.cat((none, change), dim=1) for change in changes)
        return torch.cat((first, outputs), dim=1), log_scale, shift
