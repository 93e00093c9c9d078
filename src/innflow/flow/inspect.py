"""What every coupling of a flow does, laid out as the data: a look inside without hooks."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from nflows.transforms.base import CompositeTransform, Transform
from torch import Tensor

from innflow.flow.coupling import BaseCoupling
from innflow.flow.multiscale import CouplingFlow
from innflow.flow.permute import Permute
from innflow.flow.reshape import Flatten, PairTokens, Patchify, Patchwise, Squeeze

Undo = Callable[[Tensor], Tensor]
"""Takes one step of the layout back: the tensor that stood there before a squeeze, say."""


@dataclass(frozen=True)
class CouplingTrace:
    """One coupling at work, in the layout of the data: (B, C, H, W), or (B, D) for vectors.

    Args:
        level: of the flow, from 0.
        index: of the coupling in the flow, from 0.
        log_scale: log s, the log slope for splines; 0 where the coupling changes nothing and
            where features have left already.
        shift: t, likewise; output - input for splines.
        outputs: all features after the coupling, together with the latents that have left.
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
    """Run data (B, *shape) through a flow and yield what each coupling does, in order.

    Squeezes, splits, patches, tokens and, for images, permutations of dim 1 are undone, so that
    what is done to a pixel stands at the pixel. Learned layers and rotations are not: behind a 1x1
    convolution a channel is a mixture of those before it, at the same place. Vectors are given as
    they stand at the coupling.
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
    """Put the features at the end of a level back in the places they came from.

    Args:
        flow: whose squeezes and splits are undone.
        level: at whose end `kept` stands.
        kept: all of its outputs (B, ...), before anything of them leaves.
        finished: what has left after each level before it, in the shapes in which it left.

    Returns:
        (B, *shape of the data).
    """
    undo = _layout(cast(Transform, flow.levels[level]), len(flow.shape) > 1)
    return _above(flow, level, _undone(undo, kept), finished)


def latent_layout(flow: CouplingFlow, latent: Tensor) -> Tensor:
    """Return a latent (B, N) in the layout of the data, by undoing squeezes and splits only."""
    shapes = flow.latent_shapes
    pieces = latent.split([torch.Size(shape).numel() for shape in shapes], dim=1)
    *finished, deepest = (
        piece.reshape(-1, *shape) for piece, shape in zip(pieces, shapes, strict=True)
    )
    return to_image_layout(flow, len(shapes) - 1, deepest, finished)


def _above(flow: CouplingFlow, level: int, start: Tensor, finished: Sequence[Tensor]) -> Tensor:
    """Take what stands at the start of a level through the levels before it."""
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
    """Return what undoes the layout of a whole transform, in the order of its steps."""
    if isinstance(transform, CompositeTransform):
        return [step for inner in transform._transforms for step in _layout(inner, image)]
    if isinstance(transform, Patchwise):
        return [transform.join, *_layout(transform.transform, image), transform.split]
    return _own(transform, image)


def _walk(
    transform: Transform, value: Tensor, context: Tensor | None, image: bool, undo: list[Undo]
) -> Generator[tuple[Tensor, Tensor, Tensor], None, Tensor]:
    """Yield (outputs, log s, t) of each coupling; `undo` then leads back to the start.

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
    if isinstance(transform, BaseCoupling):
        seen = transform.trace(value, context)
        yield seen
        return seen[0]
    undo += _own(transform, image)
    outputs: Tensor = transform(value, context)[0]
    return outputs
