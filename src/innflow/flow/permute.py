"""Fixed permutations of dim 1."""

from __future__ import annotations

from typing import Any

import torch
from nflows.transforms.base import Transform
from torch import Tensor

from innflow.errors import InnflowError
from innflow.flow.fused.gradient import Reorder


class Permute(Transform):
    """Reorder dim 1 by a fixed permutation; the log-determinant is 0.

    The inverse order is stored, so that both directions and both gradients are one `index_select`
    and nothing is sorted or scattered at run time.

    Args:
        order: output feature i is input feature `order[i]`.

    Attributes:
        exchanges: whether it exchanges two halves, which takes no gather.
    """

    order: Tensor
    restore: Tensor

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        if not torch.equal(order.sort().values, torch.arange(len(order))):
            raise InnflowError(
                f"Permute: {order.tolist()} is no permutation of 0..{len(order) - 1}"
            )
        self.register_buffer("order", order.clone())
        self.register_buffer("restore", order.argsort())
        self._recognise()

    def _recognise(self) -> None:
        half = torch.arange(len(self.order)).roll(len(self.order) // 2)
        self.exchanges = len(self.order) % 2 == 0 and torch.equal(self.order.cpu(), half)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._recognise()

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, F, ...) to the reordered tensor and zeros (B,)."""
        outputs: Tensor = Reorder.run(inputs, self.order, self.restore)
        return outputs, inputs.new_zeros(inputs.shape[0])

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Undo `forward`."""
        outputs: Tensor = Reorder.run(inputs, self.restore, self.order)
        return outputs, inputs.new_zeros(inputs.shape[0])

    def undo(self, first: Tensor, second: Tensor) -> Tensor:
        """Return what went in, from two parts of what came out; the gradient is not wanted."""
        if self.exchanges:
            return torch.cat((second, first), dim=1)
        return torch.cat((first, second), dim=1).index_select(1, self.restore)


def mixing_order(features: int, step: int) -> Tensor:
    """Return the order before coupling `step`: a random one, then the exchange of the halves.

    After an exchange a coupling changes what the one before has kept, so that every feature has
    its turn; random orders alone would leave one in 2 ** depth unchanged. With 2 or 3 features,
    where a random order is often the identity, the halves are exchanged every time.
    """
    if step % 2 or features <= 3:
        return torch.arange(features).roll(features // 2)
    return torch.randperm(features)
