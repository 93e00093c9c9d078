"""CouplingFlow: levels of transforms between which half of the features are factored out."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from nflows.transforms.base import Transform
from torch import Tensor, nn
from torch.distributions import Distribution, Normal

from innflow.errors import InnflowError
from innflow.flow import fused
from innflow.flow.compiled import CompiledLevels
from innflow.flow.coupling import BaseCoupling
from innflow.flow.initialise import initialise


def _check(inputs: Tensor, shape: tuple[int, ...], name: str) -> None:
    if tuple(inputs.shape[1:]) != shape:
        raise InnflowError(f"flow: {name} have shape {tuple(inputs.shape[1:])}, expected {shape}")


def _base(base: Distribution | None, latent: Tensor) -> Distribution:
    """Return the base distribution, by default a standard normal like the latents."""
    return base or Normal(torch.zeros_like(latent[0]), torch.ones_like(latent[0]))


class CouplingFlow(Transform):
    """A bijection from data of one shape to a flat latent, in levels (RealNVP, arXiv:1605.08803).

    After every level but the last, the second half of dim 1 becomes a part of the latent and the
    first half enters the next level. The last coupling of a level transforms this half given the
    first, which has the effect of the learned prior of Glow (arXiv:1807.03039) with a standard
    normal base distribution.

    Args:
        shape: of one input, (D,) or (C, H, W).
        levels: transforms; level i maps the features that level i - 1 has kept.
        latent_shapes: shape of the part of the latent after each level, the deepest last.

    Attributes:
        reversible: recompute activations in the backward pass instead of storing them, see
            `innflow.flow.fused.reversible`.

    Example:
        >>> from innflow.flow import MLP, Coupling
        >>> flow = CouplingFlow((4,), [Coupling(4, MLP), Coupling(2, MLP)], [(2,), (2,)])
        >>> z, logabsdet = flow(torch.randn(3, 4))
        >>> x, _ = flow.inverse(z)
        >>> z.shape, logabsdet.shape, x.shape
        (torch.Size([3, 4]), torch.Size([3]), torch.Size([3, 4]))
        >>> flow.log_prob(x).shape, flow.sample(7).shape
        (torch.Size([3]), torch.Size([7, 4]))
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
        self.reversible = False
        self._compiled: CompiledLevels | None = None

    def compile(self, *args: Any, **options: Any) -> None:
        """Compile both directions in place, at their first call.

        Parameters and state dict do not change. Takes the arguments of `torch.compile`.
        """
        self._compiled = CompiledLevels(self.levels, *args, **{"fullgraph": True, **options})

    def uncompile(self) -> None:
        """Undo `compile`."""
        self._compiled = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the compiled functions, which refer to the layers of this object."""
        return {**super().__getstate__(), "_compiled": None}

    def terms(self, inputs: Tensor, context: Tensor | None = None) -> list[tuple[Tensor, Tensor]]:
        """Return (latent (B, N_i), logabsdet (B,)) of each level, the deepest last.

        `forward` returns the concatenated latents and the sum of the log-determinants.
        """
        _check(inputs, self.shape, "inputs")
        result, kept = [], inputs
        for index, level in enumerate(self.levels):
            if self._compiled:
                kept, logabsdet = self._compiled(index, kept, context)
            else:
                kept, logabsdet = fused.forward(level, kept, context, self.reversible)
            if index < len(self.levels) - 1:
                kept, finished = kept.chunk(2, dim=1)
            else:
                finished = kept
            result.append((finished.flatten(1), logabsdet))
        return result

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map (B, *shape) to the latent (B, N), deepest features last, and logabsdet (B,)."""
        terms = self.terms(inputs, context)
        if len(terms) == 1:
            return terms[0]
        latents, logabsdets = zip(*terms, strict=True)
        return torch.cat(latents, dim=1), torch.stack(logabsdets).sum(dim=0)

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map a latent (B, N) to data (B, *shape) and the logabsdet (B,) of this direction."""
        _check(inputs, (self.features,), "latents")
        shapes = self.latent_shapes
        pieces = inputs.split([math.prod(shape) for shape in shapes], dim=1)
        kept: Tensor | None = None
        total = inputs.new_zeros(inputs.shape[0])
        for index in reversed(range(len(shapes))):
            finished = pieces[index].reshape(-1, *shapes[index])
            joined = finished if kept is None else torch.cat((kept, finished), dim=1)
            if self._compiled:
                kept, logabsdet = self._compiled(index, joined, context, inverse=True)
            else:
                kept, logabsdet = fused.inverse(self.levels[index], joined, context)
            total = total + logabsdet
        assert kept is not None
        return kept, total

    def log_prob(
        self, inputs: Tensor, context: Tensor | None = None, base: Distribution | None = None
    ) -> Tensor:
        """Return log p (B,) in nats of data (B, *shape), with gradients.

        Args:
            inputs: (B, *shape).
            context: (B, C), of a conditional flow.
            base: distribution of the latent (N,), or of each of its features; standard normal by
                default.

        Example:
            >>> from innflow.flow import vector
            >>> flow, x = vector(2, depth=2, context=3), torch.randn(5, 2)
            >>> flow.log_prob(x, torch.randn(5, 3)).shape
            torch.Size([5])
            >>> flow.log_prob(x, torch.randn(5, 3), torch.distributions.StudentT(4.0)).shape
            torch.Size([5])
        """
        latent, logabsdet = self(inputs, context)
        log_prob: Tensor = _base(base, latent).log_prob(latent)
        return log_prob.reshape(len(latent), -1).sum(dim=1) + logabsdet

    def sample(
        self, n: int, context: Tensor | None = None, base: Distribution | None = None
    ) -> Tensor:
        """Draw n items, (n, *shape), by torch's global generator.

        Args:
            n: number of samples.
            context: (C,) for all samples, or (B, C): n for each row, (B, n, *shape).
            base: as for `log_prob`.

        Example:
            >>> from innflow.flow import vector
            >>> flow = vector(2, depth=2, context=3)
            >>> flow.sample(10, torch.zeros(3)).shape, flow.sample(10, torch.zeros(5, 3)).shape
            (torch.Size([10, 2]), torch.Size([5, 10, 2]))
        """
        rows = 1 if context is None or context.dim() == 1 else len(context)
        if context is not None:
            context = context.reshape(rows, -1).repeat_interleave(n, dim=0)
        like = next(self.parameters()).new_empty(rows * n, self.features)
        chosen = _base(base, like)
        single = not (chosen.batch_shape or chosen.event_shape)
        latent = chosen.sample(like.shape if single else like.shape[:1]).to(like)
        drawn, _ = self.inverse(latent, context)
        return drawn if rows == 1 else drawn.unflatten(0, (rows, n))

    @torch.no_grad()
    def initialise(
        self, inputs: Tensor, context: Tensor | None = None, targets: Tensor | None = None
    ) -> None:
        """Initialise data-dependent layers, such as ActNorm, from data (B, *shape)."""
        compiled, self._compiled = self._compiled, None  # a compiled graph runs no hooks
        try:
            initialise(self, inputs, context, targets)
        finally:
            self._compiled = compiled

    def __repr__(self) -> str:
        """Return shapes, number of couplings and number of parameters in one line."""
        couplings = sum(isinstance(module, BaseCoupling) for module in self.modules())
        parameters = sum(parameter.numel() for parameter in self.parameters())
        scales = " + ".join("x".join(map(str, shape)) for shape in self.latent_shapes)
        sizes = f"{'x'.join(map(str, self.shape))} <-> {scales}"
        return f"CouplingFlow({sizes}, {couplings} couplings, {parameters:,} parameters)"
