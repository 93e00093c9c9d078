"""Embeddings of observed data y: networks whose output is the context of a conditional flow.

They map standardised data (B, M), in which NaN marks a missing value, to a context (B, features).
A factory is called as `embedding(shape)` with the shape of one y, and with `missing` and `trials`,
whether values may be missing and y consists of repeated trials, where its signature has them.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from innflow.errors import InnflowError
from innflow.flow.network.base import need_sizes

BOUND = 10.0
"""Of the logarithm of an attention weight, so that its exponential is finite."""
VARIANCE = 0.01
"""Added to variances, in units of the standardised data, before the logarithm is taken."""


class Embedding(nn.Module):
    """Base class of embeddings: data of shape `shape` to `features` numbers.

    Attributes:
        shape: of one y.
        features: number of context features.
        missing: whether values may be missing.
        channels: (M,) index of the channel of each value of y; values of one channel share their
            standardisation.
    """

    def __init__(self, shape: Sequence[int], features: int, missing: bool) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.features = features
        self.missing = missing
        self.channels = torch.arange(math.prod(self.shape))

    def summarize(self, y: Tensor) -> Tensor:
        """Return few and finite statistics (B, K) of data (B, M), for tests of calibration."""
        return torch.cat(split_missing(y), dim=1)


class Observed(Embedding):
    """Vectors with missing values: the values, with 0 where missing, and their mask.

    Example:
        >>> Observed((2,), missing=True)(torch.tensor([[0.5, torch.nan]]))
        tensor([[0.5000, 0.0000, 1.0000, 0.0000]])
    """

    def __init__(self, shape: Sequence[int], missing: bool = True) -> None:
        size = math.prod(shape)
        super().__init__(shape, 2 * size if missing else size, missing)

    def forward(self, y: Tensor) -> Tensor:
        """Return values, and their mask where some may be missing, (B, features)."""
        return torch.cat(split_missing(y), dim=1) if self.missing else y


class SetEmbedding(Embedding):
    """Sets of exchangeable items of varying number, such as repeated trials.

    A network is applied to each of the items (n, D) that are not missing as a whole. Its outputs
    are pooled by their mean and by attention with learned queries (Lee et al., arXiv:1810.00825);
    a second network maps these, mean and variance of the items, and the logarithm of 1 + n to the
    context. The order of the items has no effect.

    Args:
        shape: (largest n, D).
        missing: whether there may be fewer items, or missing values.
        features: outputs of the second network.
        hidden: width of both networks.
        heads: number of learned queries.
        dropout: rate in the second network.

    Raises:
        InnflowError: if y has another number of axes, or a size is out of range.

    Example:
        >>> embed = SetEmbedding((5, 2))
        >>> y = torch.randn(3, 5, 2)
        >>> torch.allclose(embed(y.flatten(1)), embed(y.flip(1).flatten(1)), atol=1e-5)
        True
    """

    def __init__(
        self,
        shape: Sequence[int],
        missing: bool = True,
        features: int = 16,
        hidden: int = 64,
        heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        need_sizes("set embedding", features=features, hidden=hidden, heads=heads)
        _, size = check_axes("set", shape, 2)
        if hidden % heads:
            raise InnflowError(f"embedding.heads={heads}: hidden={hidden} is no multiple of it")
        super().__init__(shape, 2 * size + 1 + features, missing)
        self.channels = torch.arange(math.prod(shape)) % size
        self.heads = heads
        self.items = make_mlp((2 * size, hidden, hidden), 0.0)
        self.queries = nn.Linear(hidden, heads)
        self.rest = make_mlp((2 * hidden + 2 * size + 1, hidden, hidden, features), dropout)

    def forward(self, y: Tensor) -> Tensor:
        """Map data (B, n D) to (B, features)."""
        statistics = self.summarize(y)
        parts = torch.cat([part.unflatten(1, self.shape) for part in split_missing(y)], dim=2)
        there = parts[..., self.shape[1] :].any(dim=2)
        row = there.nonzero()[:, 0]  # of each item that is there; no others are computed
        h = self.items(parts[there])

        def add(values: Tensor) -> Tensor:
            return values.new_zeros(len(y), values.shape[1]).index_add(0, row, values)

        weights = (BOUND * (self.queries(h) / BOUND).tanh()).exp()
        weights = weights / add(weights)[row]
        attended = add((weights[..., None] * h.unflatten(1, (self.heads, -1))).flatten(1))
        mean = add(h) / there.sum(dim=1, keepdim=True).clamp(min=1)
        return torch.cat((statistics, self.rest(torch.cat((attended, mean, statistics), 1))), 1)

    def summarize(self, y: Tensor) -> Tensor:
        """Return mean and log variance of every column, and log(1 + n), (B, 2 D + 1)."""
        items, mask = (part.unflatten(1, self.shape) for part in split_missing(y))
        count = mask.sum(dim=1).clamp(min=1)
        mean = items.sum(dim=1) / count
        variance = (mask * (items - mean[:, None]).square()).sum(dim=1) / count
        number = mask.amax(dim=2).sum(dim=1, keepdim=True)
        return torch.cat((mean, (variance + VARIANCE).log(), number.log1p()), dim=1)


def split_missing(y: Tensor) -> tuple[Tensor, Tensor]:
    """Return values, 0 where missing, and the mask, 1 where present, of data with NaN."""
    missing = y.isnan()
    return y.masked_fill(missing, 0.0), (~missing).to(y.dtype)


def make_mlp(sizes: Sequence[int], dropout: float) -> nn.Sequential:
    """Return linear layers with activations between; the last layer is not 0 at first."""
    layers: list[nn.Module] = []
    for width, following in pairwise(sizes):
        layers += [nn.Linear(width, following), nn.SiLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers[:-2])


def check_axes(kind: str, shape: Sequence[int], count: int) -> tuple[int, ...]:
    """Return the shape of y; raise unless it has this number of axes."""
    if len(shape) != count:
        expected = {"set": "(n, D)", "series": "(T, C)", "image": "(C, H, W) or (H, W)"}[kind]
        raise InnflowError(f"embedding={kind}: y has the shape {tuple(shape)}, expected {expected}")
    return tuple(shape)
