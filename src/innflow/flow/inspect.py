"""Log-scale and shift of every coupling of a flow, in the layout of the data."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from nflows.transforms.base import CompositeTransform, Transform
from torch import Tensor

from innflow.flow.coupling import BaseCoupling
from innflow.flow.given import GivenFirst
from innflow.flow.multiscale import CouplingFlow
from innflow.flow.permute import Permute
from innflow.flow.reshape import Layout, Patchwise

Move = Callable[[Tensor], Tensor]
"""A change of layout, such as a squeeze."""


@dataclass(frozen=True)
class CouplingTrace:
    """Log-scale, shift and outputs of one coupling in the layout of the data, (B, *shape).

    Args:
        level: of the flow, from 0.
        index: of the coupling in the flow, from 0.
        log_scale: log-scale, for splines the log-slope; 0 at features that the coupling does not
            change, or that an earlier level has factored out.
        shift: shift, for splines output - input; 0 likewise.
        outputs: all features after the coupling, with those factored out by earlier levels.

    Example:
        >>> from innflow.flow import vector
        >>> first = next(trace(vector(2, depth=3), torch.randn(5, 2)))
        >>> first.index, first.log_scale.shape
        (0, torch.Size([5, 2]))
    """

    level: int
    index: int
    log_scale: Tensor
    shift: Tensor
    outputs: Tensor


@torch.no_grad()
def trace(
    flow: CouplingFlow, inputs: Tensor, context: Tensor | None = None
) -> Iterator[CouplingTrace]:
    """Map data (B, *shape) through a flow and yield the `CouplingTrace` of each coupling in order.

    Squeezes, splits, patches, tokens and, for images, permutations of dim 1 are inverted, so that
    values are placed at their pixels. Learned layers and rotations are not inverted: after a 1x1
    convolution a channel is a mixture of those before it, at the same pixel. Features of vectors
    keep the order that they have at the coupling.

    Example:
        >>> from innflow.flow import glow
        >>> flow = glow((1, 4, 4), levels=2, depth=1)
        >>> [traced.level for traced in trace(flow, torch.randn(5, 1, 4, 4))]
        [0, 1]
    """
    finished: list[Tensor] = []
    value, index = inputs, 0
    for level, transform in enumerate(flow.levels):
        none = [torch.zeros_like(piece) for piece in finished]
        undo: list[Move] = []
        for step in _steps(cast(Transform, transform), len(flow.shape) > 1):
            patches = len(value) // len(inputs)
            repeated = None if context is None else context.repeat_interleave(patches, dim=0)
            if isinstance(step, tuple):
                value = step[0](value)
                undo.append(step[1])
            elif isinstance(step.transform if isinstance(step, GivenFirst) else step, BaseCoupling):
                value, log_scale, shift = step.trace(value, repeated)
                placed = (
                    _above(flow, level, _undone(undo, moved), others)
                    for moved, others in ((log_scale, none), (shift, none), (value, finished))
                )
                yield CouplingTrace(level, index, *placed)
                index += 1
            else:
                value = step(value, repeated)[0]
        if level < len(flow.levels) - 1:
            value, leaves = value.chunk(2, dim=1)
            finished.append(leaves)


def to_image_layout(
    flow: CouplingFlow, level: int, kept: Tensor, finished: Sequence[Tensor]
) -> Tensor:
    """Return the outputs of a level in the layout of the data, (B, *shape).

    Squeezes and splits are inverted, all other layers are not.

    Args:
        flow: that the level belongs to.
        level: index of the level.
        kept: all outputs (B, ...) of the level, before its half is factored out.
        finished: latents factored out by each earlier level, (B, *latent_shapes[i]).

    Example:
        >>> from innflow.flow import glow
        >>> flow = glow((1, 4, 4), levels=1, depth=1)
        >>> to_image_layout(flow, 0, torch.randn(5, 4, 2, 2), []).shape
        torch.Size([5, 1, 4, 4])
    """
    steps = _steps(cast(Transform, flow.levels[level]), len(flow.shape) > 1)
    undo = [step[1] for step in steps if isinstance(step, tuple)]
    return _above(flow, level, _undone(undo, kept), finished)


def latent_layout(flow: CouplingFlow, latent: Tensor) -> Tensor:
    """Return a latent (B, N) in the layout of the data, (B, *shape).

    Squeezes and splits are inverted, all other layers are not.

    Example:
        >>> from innflow.flow import glow
        >>> latent_layout(glow((1, 4, 4), levels=2, depth=1), torch.randn(5, 16)).shape
        torch.Size([5, 1, 4, 4])
    """
    shapes = flow.latent_shapes
    pieces = latent.split([torch.Size(shape).numel() for shape in shapes], dim=1)
    *finished, deepest = (
        piece.reshape(-1, *shape) for piece, shape in zip(pieces, shapes, strict=True)
    )
    return to_image_layout(flow, len(shapes) - 1, deepest, finished)


def _above(flow: CouplingFlow, level: int, start: Tensor, finished: Sequence[Tensor]) -> Tensor:
    """Map inputs of a level to the layout of the data, through the levels before it."""
    if not level:
        return start
    joined = torch.cat((start, finished[level - 1]), dim=1)
    return to_image_layout(flow, level - 1, joined, finished)


def _undone(undo: Sequence[Move], value: Tensor) -> Tensor:
    for move in reversed(undo):
        value = move(value)
    return value


def _steps(transform: Transform, image: bool) -> Iterator[Transform | tuple[Move, Move]]:
    """Yield the layers of a transform in order, each change of layout with its inverse."""
    if isinstance(transform, CompositeTransform):
        for inner in transform._transforms:
            yield from _steps(inner, image)
    elif isinstance(transform, GivenFirst):
        for inner in cast(Iterator[Transform], _steps(transform.transform, image)):
            yield GivenFirst(transform.first, inner)
    elif isinstance(transform, Patchwise):
        yield transform.split, transform.join
        yield from _steps(transform.transform, image)
        yield transform.join, transform.split
    elif isinstance(transform, Layout) and (image or not isinstance(transform, Permute)):
        yield transform.rearrange, transform.undo
    else:
        yield transform
