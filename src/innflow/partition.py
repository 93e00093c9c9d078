"""Partition: the named parts on the two sides of a flow.

A flow is a bijection from its left side to its right side. A partition divides both sides into
named parts of given shapes; the parts decide what the flow is used for:

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
from typing import Literal

import torch
from torch import Tensor

from innflow.errors import InnflowError

Side = Literal["left", "right"]
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
    not transformed.

    Args:
        left: part name -> shape of one item.
        right: part name -> shape of one item.
        context: part name -> shape of one item; empty for an unconditional flow.

    Raises:
        InnflowError: if a side has no part, a size is below 1, a part is on a side and in the
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

    left: Mapping[str, tuple[int, ...]]
    right: Mapping[str, tuple[int, ...]]
    context: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Validate the shapes and pad the shorter side."""
        left = {name: tuple(shape) for name, shape in self.left.items()}
        right = {name: tuple(shape) for name, shape in self.right.items()}
        context = {name: tuple(shape) for name, shape in self.context.items()}
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
        if missing > 0 and PAD not in left:
            if missing % pixels:
                raise InnflowError(
                    f"partition: {_total(left)} != {_total(right)}: {self.describe(left, right)}: "
                    f"the {missing} missing on the left are not whole channels of {pixels} pixels"
                )
            left[PAD] = (missing // pixels, *image)
        elif missing < 0 and PAD not in right:
            right[PAD] = (-missing,)
        elif missing:
            raise InnflowError(
                f"partition: {_total(left)} != {_total(right)}: {self.describe(left, right)}: "
                "the given pad does not make the sides equal"
            )
        object.__setattr__(self, "left", left)
        object.__setattr__(self, "right", right)
        object.__setattr__(self, "context", context)

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

        Args:
            left: part name -> size.
            right: part name -> size.
            shapes: part name -> shape in the data set; the `shapes` of a data module.
            context: part name -> size.

        Raises:
            InnflowError: naming the key, if a size is none of these or differs from the data.

        Example:
            >>> print(Partition.build({"x": "data"}, {"z": "rest", "y": 2}, {"x": (6,)}))
            left 6 = x 6, right 6 = z 4 + y 2
        """
        lefts = {name: _shape("left", name, size, shapes) for name, size in left.items()}
        rights = {
            name: _shape("right", name, size, shapes)
            for name, size in right.items()
            if size != "rest"
        }
        contexts = {
            name: _shape("context", name, size, shapes) for name, size in (context or {}).items()
        }
        rest = [name for name in right if name not in rights]
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
        """Shape of the joined left side without the batch; the shape that the flow takes."""
        first = next(iter(self.left.values()))
        return (sum(shape[0] for shape in self.left.values()), *first[1:])

    @property
    def features(self) -> int:
        """Number of dimensions of either side."""
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
        missing = [name for name in shapes if name not in parts]
        if missing:
            raise InnflowError(
                f"partition: {side} needs {', '.join(shapes)}; {', '.join(missing)} is missing"
            )
        pieces = []
        for name, shape in shapes.items():
            part = parts[name]
            if tuple(part.shape[1:]) != shape:
                raise InnflowError(
                    f"partition: {side} part {name} has shape {tuple(part.shape[1:])}, not {shape}"
                )
            pieces.append(part if side == "left" else part.flatten(1))
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
            name: piece if side == "left" else piece.reshape(-1, *shape)
            for (name, shape), piece in zip(shapes.items(), pieces, strict=True)
        }

    def join_context(self, parts: Mapping[str, Tensor]) -> Tensor | None:
        """Concatenate the flattened context parts, (B, context_features); None without context.

        Raises:
            InnflowError: if a context part is missing.
        """
        if not self.context:
            return None
        missing = [name for name in self.context if name not in parts]
        if missing:
            raise InnflowError(f"partition: context {', '.join(missing)} is missing")
        return torch.cat([parts[name].flatten(1) for name in self.context], dim=1)

    def _side(self, side: Side) -> Mapping[str, tuple[int, ...]]:
        if side not in ("left", "right"):
            raise InnflowError(f"partition: side {side!r} is unknown: takes left or right")
        return self.left if side == "left" else self.right

    @staticmethod
    def describe(left: Mapping[str, tuple[int, ...]], right: Mapping[str, tuple[int, ...]]) -> str:
        """Return both sides in one line: `left 12 = x 8 + eps 4, right 10 = y 3 + z 7`."""
        return f"left {_total(left)} = {_row(left)}, right {_total(right)} = {_row(right)}"

    def __str__(self) -> str:
        """Return both sides and the context in one line."""
        context = f", context {_row(self.context)}" if self.context else ""
        return self.describe(self.left, self.right) + context


def _shape(
    side: str, name: str, size: Size, shapes: Mapping[str, Sequence[int]]
) -> tuple[int, ...]:
    """Return the shape that a size of a config stands for."""
    key = f"partition.{side}.{name}"
    if size == "data":
        if name not in shapes:
            raise InnflowError(
                f"{key}=data: the data set has no part {name}, it has {', '.join(shapes)}"
            )
        return tuple(shapes[name])
    if isinstance(size, str):
        rest = " or rest" if side == "right" else ""
        raise InnflowError(f"{key}={size}: takes a number, a shape, data{rest}")
    shape = (size,) if isinstance(size, int) else size
    if not isinstance(shape, Sequence) or not all(isinstance(n, int) for n in shape):
        raise InnflowError(f"{key}={size}: takes a whole number or a list of them")
    if name in shapes and tuple(shape) != tuple(shapes[name]):
        raise InnflowError(
            f"{key}={size}: the data set has {name} of shape {tuple(shapes[name])}: use {key}=data"
        )
    return tuple(shape)


def _total(parts: Mapping[str, tuple[int, ...]]) -> int:
    return sum(math.prod(shape) for shape in parts.values())


def _row(parts: Mapping[str, tuple[int, ...]]) -> str:
    return " + ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in parts.items())
