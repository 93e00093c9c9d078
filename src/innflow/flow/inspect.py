"""Log-scale and shift of every coupling of a flow, in the layout of the data."""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from nflows.transforms.base import CompositeTransform, Transform
from torch import Tensor

from innflow.flow.coupling import BaseCoupling
from innflow.flow.given import GivenFirst
from innflow.flow.multiscale import CouplingFlow
from innflow.flow.permute import Permute
from innflow.flow.reshape import Flatten, PairTokens, Patchify, Patchwise, Squeeze

Undo = Callable[[Tensor], Tensor]
"""Inverse of one change of layout, such as a squeeze."""


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
    image = len(flow.shape) > 1
    finished: list[Tensor] = []
    kept, index = inputs, 0
    for level, transform in enumerate(flow.levels):
        undo: list[Undo] = []
        steps = _walk(cast(Transform, transform), kept, context, image, undo)
        none = [torch.zeros_like(piece) for piece in finished]
        while True:
            try:
                outputs, log_scale, shift = next(steps)
            except StopIteration as stop:
                kept = stop.value
                break
            yield CouplingTrace(
                level,
                index,
                _above(flow, level, _undone(undo, log_scale), none),
                _above(flow, level, _undone(undo, shift), none),
                _above(flow, level, _undone(undo, outputs), finished),
            )
            index += 1
        if level < len(flow.levels) - 1:
            kept, leaves = kept.chunk(2, dim=1)
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
    undo = _layout(cast(Transform, flow.levels[level]), len(flow.shape) > 1)
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
    value = start
    for index in reversed(range(level)):
        value = torch.cat((value, finished[index]), dim=1)
        transform = cast(Transform, flow.levels[index])
        value = _undone(_layout(transform, len(flow.shape) > 1), value)
    return value


def _undone(undo: Sequence[Undo], value: Tensor) -> Tensor:
    for step in reversed(undo):
        value = step(value)
    return value


def _own(transform: Transform, image: bool) -> list[Undo]:
    layouts = (Squeeze, Flatten, Patchify, PairTokens)
    kinds = (*layouts, Permute) if image else layouts
    return [lambda value: transform.inverse(value)[0]] if isinstance(transform, kinds) else []


def _layout(transform: Transform, image: bool) -> list[Undo]:
    """Return the inverses of all changes of layout in a transform, in the order of its steps."""
    if isinstance(transform, CompositeTransform):
        return [step for inner in transform._transforms for step in _layout(inner, image)]
    if isinstance(transform, Patchwise):
        return [transform.join, *_layout(transform.transform, image), transform.split]
    return _own(transform, image)


def _walk(
    transform: Transform, value: Tensor, context: Tensor | None, image: bool, undo: list[Undo]
) -> Generator[tuple[Tensor, Tensor, Tensor], None, Tensor]:
    """Yield outputs, log-scale and shift of each coupling, and append changes of layout to `undo`.

    Returns:
        The outputs of the transform.
    """
    if isinstance(transform, CompositeTransform):
        for inner in transform._transforms:
            value = yield from _walk(inner, value, context, image, undo)
        return value
    if isinstance(transform, Patchwise):
        undo.append(transform.join)
        patches, contexts = transform.split(value), transform.repeat(context)
        patches = yield from _walk(transform.transform, patches, contexts, image, undo)
        undo.append(transform.split)
        return transform.join(patches)
    if isinstance(transform, GivenFirst):
        first, others = transform.split(value)
        none = torch.zeros_like(first)
        steps = _walk(transform.transform, others, first, image, undo)
        while True:
            try:
                changed, log_scale, shift = next(steps)
            except StopIteration as stop:
                return torch.cat((first, stop.value), dim=1)
            pairs = ((first, changed), (none, log_scale), (none, shift))
            yield tuple(torch.cat(pair, dim=1) for pair in pairs)  # type: ignore[misc]
    if isinstance(transform, BaseCoupling):
        traced = transform.trace(value, context)
        yield traced
        return traced[0]
    undo += _own(transform, image)
    outputs: Tensor = transform(value, context)[0]
    return outputs
