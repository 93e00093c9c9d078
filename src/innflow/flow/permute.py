"""Fixed permutations of dim 1."""

import torch
from nflows.transforms.base import Transform
from torch import Tensor

from innflow.errors import InnflowError


def check_order(order: Tensor, where: str) -> None:
    """Raise unless `order` is a permutation of 0..N - 1."""
    if not torch.equal(order.sort().values, torch.arange(len(order))):
        raise InnflowError(f"{where}: {order.tolist()} is no permutation of 0..{len(order) - 1}")


class Permute(Transform):
    """Reorder dim 1 by a fixed permutation; the log-determinant is 0.

    Args:
        order: output feature i is input feature `order[i]`.

    Raises:
        InnflowError: if `order` is no permutation.

    Example:
        >>> Permute(torch.tensor([2, 0, 1]))(torch.tensor([[10.0, 20.0, 30.0]]))[0]
        tensor([[30., 10., 20.]])
    """

    order: Tensor
    restore: Tensor

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        check_order(order, "Permute")
        self.register_buffer("order", order.clone())
        self.register_buffer("restore", order.argsort())

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, F, ...) to the reordered tensor and zeros (B,)."""
        return inputs.index_select(1, self.order), inputs.new_zeros(len(inputs))

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Restore the order of the inputs; the log-determinant is 0."""
        return inputs.index_select(1, self.restore), inputs.new_zeros(len(inputs))


def mixing_order(features: int, step: int) -> Tensor:
    """Return the permutation before coupling `step`, (features,).

    Even steps get a random permutation and odd steps the exchange of the two halves, so that a
    coupling changes the features that the one before has kept; random permutations alone would
    leave a share of 2^-depth of the features unchanged. With 2 or 3 features, where a random
    permutation is often the identity, every step exchanges the halves.
    """
    if step % 2 or features <= 3:
        return torch.arange(features).roll(features // 2)
    return torch.randperm(features)
