"""Partition: the named parts on the two sides of a flow.

A flow is a bijection from its left side to its right side. A partition divides both sides into
named parts of given shapes; the parts determine the task of the flow:

    left                        right               context
    x (3, 32, 32)         <->   z 3072                          density estimation, generation
    x (3, 32, 32)         <->   z 3008 + y 64                   generative classification
    x 16 + eps 16         <->   y 16 + z 16                     inverse problems with data noise
    x 4                   <->   z 4                 y 2         conditional density estimation
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

import torch
from torch import Tensor

from innflow.errors import InnflowError

Side = Literal["left", "right"]
Shapes = Mapping[str, tuple[int, ...]]
Size = int | Sequence[int] | Literal["data", "rest"]
PAD = "pad"
"""Name of the part that is added to the shorter side."""


@dataclass(frozen=True)
class Partition:
    """Names and shapes of the parts on the left, on the right and in the context of a flow.

    Parts are concatenated along dim 1, in the order of their names here. The left side keeps the
    layout of the data, (B, D) or (B, C, H, W); images are concatenated by channel. The right side
    is flat, (B, D), with the latent variables of the deepest scale last. The shorter side is
    filled up by a part named `pad`. The context is flat, (B, K), conditions every coupling and is
    not transformed; it is empty for an unconditional flow. The arguments map the name of each part
    to the shape of one item.

    Raises:
        InnflowError: if a side has no part, a size is below 1, a part is both on a side and in the
            context, left parts differ after dim 1, or padding cannot make the sides equal.

    Example:
        >>> partition = Partition({"x": (3,)}, {"y": (2,), "z": (4,)})
        >>> print(partition)
        left 6 = x 3 + pad 3, right 6 = y 2 + z 4
        >>> parts = partition.split("right", torch.zeros(5, 6))
        >>> {name: tuple(part.shape) for name, part in parts.items()}
        {'y': (5, 2), 'z': (5, 4)}
        >>> partition.join("right", parts).shape
        torch.Size([5, 6])
    """

    left: Shapes
    right: Shapes
    context: Shapes = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Validate the shapes and pad the shorter side."""
        left, right, context = (
            {name: tuple(shape) for name, shape in parts.items()}
            for parts in (self.left, self.right, self.context)
        )
        if not left or not right:
            raise InnflowError("partition: each side needs at least one part")
        both = sorted(set(context) & (set(left) | set(right)))
        if both:
            raise InnflowError(
                f"partition: {', '.join(both)} is in the context and on a side: keep one of them"
            )
        for name, shape in (*left.items(), *right.items(), *context.items()):
            if not shape or any(size < 1 for size in shape):
                raise InnflowError(f"partition: part {name} has shape {shape}: sizes must be >= 1")
        image = next(iter(left.values()))[1:]
        if any(shape[1:] != image for shape in left.values()):
            raise InnflowError(
                f"partition: left parts {_row(left)} differ after dim 1, along which they are "
                "concatenated: give all left parts one height and width"
            )
        pixels = math.prod(image)
        missing = _total(right) - _total(left)
        sides = f"partition: {_total(left)} != {_total(right)}: {self.describe(left, right)}"
        if missing > 0 and PAD not in left:
            if missing % pixels:
                raise InnflowError(
                    f"{sides}: the {missing} missing on the left are not whole channels of "
                    f"{pixels} pixels"
                )
            left[PAD] = (missing // pixels, *image)
        elif missing < 0 and PAD not in right:
            right[PAD] = (-missing,)
        elif missing:
            raise InnflowError(f"{sides}: the given pad does not make the sides equal")
        for name, parts in (("left", left), ("right", right), ("context", context)):
            object.__setattr__(self, name, parts)

    @classmethod
    def build(
        cls,
        left: Mapping[str, Size],
        right: Mapping[str, Size],
        shapes: Mapping[str, Sequence[int]],
        context: Mapping[str, Size] | None = None,
    ) -> Partition:
        """Build a partition from the sizes of a config and the shapes of a data set.

        A size is a number, a shape, `data` (the shape of this part in the data set) or, for at
        most one right part, `rest` (the dimensions of the left that no other right part takes).
        `shapes` are those of the parts in the data set, as in `shapes` of a data module.

        Raises:
            InnflowError: if a size is none of these or differs from the data; it names the key.

        Example:
            >>> print(Partition.build({"x": "data"}, {"z": "rest", "y": 2}, {"x": (6,)}))
            left 6 = x 6, right 6 = z 4 + y 2
        """
        rest = [name for name, size in right.items() if size == "rest"]
        others = {name: size for name, size in right.items() if name not in rest}
        lefts, rights = _resolve("left", left, shapes), _resolve("right", others, shapes)
        contexts = _resolve("context", context or {}, shapes)
        if len(rest) > 1:
            raise InnflowError(f"partition.right: only one part can be rest, not {rest}")
        remaining = _total(lefts) - _total(rights)
        if rest and remaining < 1:
            raise InnflowError(
                f"partition: left {_row(lefts)}, right {_row(rights)}: no dimension remains for "
                f"{rest[0]}=rest: make the other right parts smaller"
            )
        return cls(lefts, {name: rights.get(name, (remaining,)) for name in right}, contexts)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the joined left side without the batch: that of the inputs of the flow."""
        first = next(iter(self.left.values()))
        return (sum(shape[0] for shape in self.left.values()), *first[1:])

    @property
    def features(self) -> int:
        """Number of dimensions of each side; both sides have the same."""
        return _total(self.left)

    @property
    def context_features(self) -> int:
        """Number of features of the context; 0 for an unconditional flow."""
        return _total(self.context)

    def join(self, side: Side, parts: Mapping[str, Tensor]) -> Tensor:
        """Concatenate the parts of one side along dim 1: left (B, *shape), right (B, features).

        Raises:
            InnflowError: if a part is missing or has another shape.
        """
        shapes = self._side(side)
        pieces = _select(side, shapes, parts)
        for (name, shape), piece in zip(shapes.items(), pieces, strict=True):
            found = tuple(piece.shape[1:])
            if found != shape:
                raise InnflowError(f"partition: {side} part {name} has shape {found}, not {shape}")
        if side == "right":
            pieces = [piece.flatten(1) for piece in pieces]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)

    def split(self, side: Side, tensor: Tensor) -> dict[str, Tensor]:
        """Split the joined tensor of one side into its parts, views of it in their own shapes.

        Raises:
            InnflowError: if the tensor has another shape than that side.
        """
        shapes = self._side(side)
        expected = self.shape if side == "left" else (self.features,)
        if tuple(tensor.shape[1:]) != expected:
            raise InnflowError(
                f"partition: {side} has shape {tuple(tensor.shape[1:])}, not {expected}"
            )
        sizes = [shape[0] if side == "left" else math.prod(shape) for shape in shapes.values()]
        pieces = tensor.split(sizes, dim=1)
        return {
            name: piece.reshape(-1, *shape)
            for (name, shape), piece in zip(shapes.items(), pieces, strict=True)
        }

    def join_context(self, parts: Mapping[str, Tensor]) -> Tensor | None:
        """Concatenate the flattened context parts, (B, context_features); None without context.

        Raises:
            InnflowError: if a context part is missing.
        """
        if not self.context:
            return None
        pieces = _select("context", self.context, parts)
        return torch.cat([piece.flatten(1) for piece in pieces], dim=1)

    def _side(self, side: Side) -> Shapes:
        if side not in ("left", "right"):
            raise InnflowError(f"partition: side {side!r} is unknown: must be left or right")
        return self.left if side == "left" else self.right

    @staticmethod
    def describe(left: Shapes, right: Shapes) -> str:
        """Return both sides in one line: `left 12 = x 8 + eps 4, right 10 = y 3 + z 7`."""
        return f"left {_total(left)} = {_row(left)}, right {_total(right)} = {_row(right)}"

    def __str__(self) -> str:
        """Return both sides and the context in one line."""
        context = f", context {_row(self.context)}" if self.context else ""
        return self.describe(self.left, self.right) + context


def _resolve(
    side: str, sizes: Mapping[str, Size], shapes: Mapping[str, Sequence[int]]
) -> dict[str, tuple[int, ...]]:
    """Return the shapes that the sizes of a config stand for."""
    resolved: dict[str, tuple[int, ...]] = {}
    for name, size in sizes.items():
        key = f"partition.{side}.{name}"
        shape = (size,) if isinstance(size, int) else size
        if size == "data":
            if name not in shapes:
                raise InnflowError(
                    f"{key}=data: the data set has no part {name}, it has {', '.join(shapes)}"
                )
            shape = shapes[name]
        elif isinstance(shape, str):
            rest = " or rest" if side == "right" else ""
            raise InnflowError(f"{key}={size}: must be a number, a shape, data{rest}")
        elif not isinstance(shape, Sequence) or not all(isinstance(n, int) for n in shape):
            raise InnflowError(f"{key}={size}: must be an integer or a list of them")
        elif name in shapes and tuple(shape) != tuple(shapes[name]):
            found = tuple(shapes[name])
            raise InnflowError(
                f"{key}={size}: the data set has {name} of shape {found}: use {key}=data"
            )
        resolved[name] = tuple(cast(Sequence[int], shape))
    return resolved


def _select(side: str, shapes: Shapes, parts: Mapping[str, Tensor]) -> list[Tensor]:
    """Return the parts with these names, in their order; raise if one is missing."""
    missing = [name for name in shapes if name not in parts]
    if missing:
        raise InnflowError(
            f"partition: {side} needs {', '.join(shapes)}; {', '.join(missing)} is missing"
        )
    return [parts[name] for name in shapes]


def _total(parts: Shapes) -> int:
    return sum(math.prod(shape) for shape in parts.values())


def _row(parts: Shapes) -> str:
    return " + ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in parts.items())
