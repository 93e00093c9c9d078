"""Fixed permutations of dim 1."""

import torch
from torch import Tensor, nn

from innflow.errors import InnflowError
from innflow.flow.reshape import Layout


class Permute(Layout):
    """Reorder dim 1 by a fixed permutation; the log-determinant is 0.

    Args:
        order: output feature i is input feature `order[i]`.

    Raises:
        InnflowError: if `order` is no permutation.

    Example:
        >>> Permute(torch.tensor([2, 0, 1]))(torch.tensor([[10.0, 20.0, 30.0]]))[0]
        tensor([[30., 10., 20.]])
    """

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        if not torch.equal(order.sort().values, torch.arange(len(order))):
            raise InnflowError(
                f"Permute: {order.tolist()} is no permutation of 0..{len(order) - 1}"
            )
        self.order, self.restore = nn.Buffer(order.clone()), nn.Buffer(order.argsort())

    def rearrange(self, values: Tensor) -> Tensor:
        """Return the reordered tensor (B, F, ...)."""
        return values.index_select(1, self.order)

    def undo(self, values: Tensor) -> Tensor:
        """Restore the order of the inputs."""
        return values.index_select(1, self.restore)


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
