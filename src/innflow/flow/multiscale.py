"""CouplingFlow, the backbone: levels of transforms, with finished features factored out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from nflows.transforms.base import Transform
from torch import Tensor, nn

from innflow.errors import InnflowError
from innflow.flow.coupling import Coupling, MaskedCoupling
from innflow.flow.initialise import initialise


def _check(inputs: Tensor, shape: tuple[int, ...], what: str) -> None:
    if tuple(inputs.shape[1:]) != shape:
        raise InnflowError(
            f"flow: {what} have shape {tuple(inputs.shape[1:])}, this flow takes {shape}"
        )


class CouplingFlow(Transform):
    """A bijection from data of one shape to a flat latent, level by level.

    After every level but the last, the second half of dim 1 leaves as a finished latent and the
    first half goes on. It is the second half that the last coupling of a level has changed, given
    the first: so what leaves has been fitted to its normal conditionally on what stays, which is
    the learned prior of Glow (arXiv:1807.03039) with the latent itself still a plain normal.

    Args:
        shape: of one input, (D,) or (C, H, W).
        levels: a transform each; level i maps what level i - 1 has kept.
        latent_shapes: shape of what leaves after each level, the deepest last.
    """

    def __init__(
        self,
        shape: Sequence[int],
        levels: Sequence[Transform],
        latent_shapes: Sequence[Sequence[int]],
    ) -> None:
        super().__init__()
        self.shape = tuple(int(size) for size in shape)
        self.features = math.prod(self.shape)
        self.levels = nn.ModuleList(levels)
        self.latent_shapes = [tuple(int(size) for size in shape) for shape in latent_shapes]

    def terms(self, inputs: Tensor, context: Tensor | None = None) -> list[tuple[Tensor, Tensor]]:
        """Return (latent (B, N_i), logabsdet (B,)) of each scale, the deepest last.

        The latents side by side are `forward`'s latent, and the log-determinants add up to its.
        """
        _check(inputs, self.shape, "inputs")
        result, kept = [], inputs
        for index, level in enumerate(self.levels):
            kept, logabsdet = level(kept, context)
            if index < len(self.levels) - 1:
                kept, finished = kept.chunk(2, dim=1)
            else:
                finished = kept
            result.append((finished.flatten(1), logabsdet))
        return result

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, *shape) to the latent (B, N), deepest features last, and logabsdet (B,)."""
        latents, logabsdets = zip(*self.terms(inputs, context), strict=True)
        return torch.cat(latents, dim=1), torch.stack(logabsdets).sum(dim=0)

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map a latent (B, N) to data (B, *shape) and the logabsdet (B,) of this direction."""
        _check(inputs, (self.features,), "latents")
        shapes = self.latent_shapes
        pieces = inputs.split([math.prod(shape) for shape in shapes], dim=1)
        kept: Tensor | None = None
        total = inputs.new_zeros(inputs.shape[0])
        for piece, shape, level in zip(pieces[::-1], shapes[::-1], self.levels[::-1], strict=True):
            finished = piece.reshape(-1, *shape)
            joined = finished if kept is None else torch.cat((kept, finished), dim=1)
            kept, logabsdet = cast(Transform, level).inverse(joined, context)
            total = total + logabsdet
        assert kept is not None
        return kept, total

    @torch.no_grad()
    def initialise(
        self, inputs: Tensor, context: Tensor | None = None, targets: Tensor | None = None
    ) -> None:
        """Let every layer that starts from data do so: ActNorm, Regression, Alignment."""
        initialise(self, inputs, context, targets)

    def __repr__(self) -> str:
        """Say what goes in, how deep it is and how large."""
        couplings = sum(isinstance(module, Coupling | MaskedCoupling) for module in self.modules())
        parameters = sum(parameter.numel() for parameter in self.parameters())
        scales = " + ".join("x".join(map(str, shape)) for shape in self.latent_shapes)
        sizes = f"{'x'.join(map(str, self.shape))} <-> {scales}"
        return f"CouplingFlow({sizes}, {couplings} couplings, {parameters:,} parameters)"
