"""A vision transformer as coupling network (arXiv:2010.11929)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from innflow.errors import InnflowError
from innflow.flow.network.base import need_context, need_sizes, zero


class Attention(nn.Module):
    """Multi-head self-attention on (B, tokens, hidden)."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(hidden, 3 * hidden)
        self.mix = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, tokens, hidden) to the same shape."""
        parts = self.query_key_value(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        read = F.scaled_dot_product_attention(*parts.unbind(0))
        return self.mix(read.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A pre-norm transformer block: attention, then an MLP four times as wide, both residual."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(hidden), Attention(hidden, heads))
        self.mlp = nn.Sequential(
            nn.LayerNorm(hidden),
            nn.Linear(hidden, 4 * hidden),
            nn.GELU(),
            nn.Linear(4 * hidden, hidden),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, tokens, hidden) to the same shape."""
        x = x + self.attention(x)
        return x + self.mlp(x)


class Transformer(nn.Module):
    """A vision transformer with learned positions and pre-norm blocks (arXiv:2010.11929).

    Every position of the axes after dim 1 is a token: a patch in `innflow.flow.tokens`, a pixel in
    images. A context vector is appended to every token.

    Args:
        inputs: features of a token of x.
        outputs: features of a returned token.
        context: number of context features.
        hidden: width, divisible by `heads`.
        blocks: number of blocks of attention and MLP.
        heads: of each attention.
        size: of the axes after dim 1, (tokens,) or (H, W).

    Raises:
        InnflowError: if a size is below 1 or `hidden` is not divisible by `heads`.

    Example:
        >>> Transformer(3, 6, hidden=8, size=(16,))(torch.randn(5, 3, 16)).shape
        torch.Size([5, 6, 16])
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        context: int = 0,
        hidden: int = 128,
        blocks: int = 1,
        heads: int = 4,
        *,
        size: Sequence[int],
    ) -> None:
        super().__init__()
        need_sizes("transformer", hidden=hidden, blocks=blocks, heads=heads)
        if hidden % heads:
            raise InnflowError(f"transformer: hidden={hidden} cannot be divided by heads={heads}")
        self.context = context
        self.size = tuple(size)
        self.embed = nn.Linear(inputs + context, hidden)
        self.positions = nn.Parameter(torch.randn(math.prod(size), hidden) / hidden**0.5)
        self.blocks = nn.Sequential(*(Block(hidden, heads) for _ in range(blocks)))
        self.head = nn.Sequential(nn.LayerNorm(hidden), zero(nn.Linear(hidden, outputs)))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map (B, inputs, *size) and (B, context) to (B, outputs, *size)."""
        need_context(context, self.context, "transformer")
        tokens = x.flatten(2).transpose(1, 2)
        if context is not None:
            same = context[:, None].expand(-1, tokens.shape[1], -1)
            tokens = torch.cat((tokens, same), dim=2)
        h = self.blocks(self.embed(tokens) + self.positions)
        return self.head(h).transpose(1, 2).unflatten(2, self.size)
