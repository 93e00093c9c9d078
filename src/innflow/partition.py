"""Partition: names for the parts on both sides of a bijection.

    x (3, 32, 32)        <->  z 3072             density, generation
    x (3, 32, 32)        <->  z 3008 + y 64      generative classification
    x 16 + eps 16        <->  y 16 + z 16        inverse problems
    x 4                  <->  z 4, given y 2     the same by conditioning

One flow maps the left to the right. Which part is data, label, noise or latent is said here and
nowhere else.
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


@dataclass(frozen=True)
class Partition:
    """Ordered maps from part names to shapes; parts are slices of dim 1.

    The left keeps the shape of the data, (B, D) or (B, C, H, W), where images side by side stack
    their channels. The right is flat, (B, N), the deepest latents last. The shorter side gets a
    part `pad` that fills it up.

    Raises:
        InnflowError: if the parts of the left do not fit together or the sides cannot be made
            equal.
    """

    left: Mapping[str, tuple[int, ...]]
    right: Mapping[str, tuple[int, ...]]
    context: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the parts and pad the shorter side."""
        left = {name: tuple(shape) for name, shape in self.left.items()}
        right = {name: tuple(shape) for name, shape in self.right.items()}
        given = {name: tuple(shape) for name, shape in self.context.items()}
        if not left or not right:
            raise InnflowError("partition: each side needs at least one part")
        both = sorted(set(given) & (set(left) | set(right)))
        if both:
            raise InnflowError(
                f"partition: {', '.join(both)} is context and a part of a side: choose one"
            )
        for name, shape in (*left.items(), *right.items(), *given.items()):
            if not shape or any(size < 1 for size in shape):
                raise InnflowError(f"partition: part {name} has shape {shape}: sizes must be >= 1")
        if len({shape[1:] for shape in left.values()}) > 1:
            raise InnflowError(
                f"partition: left parts {_row(left)} differ after dim 1: they are stacked on dim 1"
            )
        pixels = math.prod(next(iter(left.values()))[1:])
        missing = _total(right) - _total(left)
        if missing > 0 and PAD not in left:
            if missing % pixels:
                raise InnflowError(
                    f"partition: {_total(left)} != {_total(right)}: {self.describe(left, right)}: "
                    f"the {missing} missing on the left are no whole channels of {pixels} pixels"
                )
            left[PAD] = (missing // pixels, *next(iter(left.values()))[1:])
        elif missing < 0 and PAD not in right:
            right[PAD] = (-missing,)
        elif missing:
            raise InnflowError(
                f"partition: {_total(left)} != {_total(right)}: {self.describe(left, right)}"
            )
        object.__setattr__(self, "left", left)
        object.__setattr__(self, "right", right)
        object.__setattr__(self, "context", given)

    @classmethod
    def build(
        cls,
        left: Mapping[str, Size],
        right: Mapping[str, Size],
        shapes: Mapping[str, Sequence[int]],
        context: Mapping[str, Size] | None = None,
    ) -> Partition:
        """Build from a config, where a size may be a number, a shape, `data` or `rest`.

        Args:
            left: part name -> size.
            right: part name -> size; at most one is `rest`: what the others leave over.
            context: part name -> size.
            shapes: what `data` stands for, by part name; a data module's `shapes`.
        """

        def shape(side: str, name: str, size: Size) -> tuple[int, ...]:
            if size == "data":
                if name not in shapes:
                    raise InnflowError(
                        f"partition.{side}.{name}=data: the data set has no part {name}, "
                        f"it has {', '.join(shapes)}"
                    )
                return tuple(shapes[name])
            if isinstance(size, str):
                raise InnflowError(
                    f"partition.{side}.{name}={size}: takes a number, a shape, data"
                    f"{' or rest' * (side == 'right')}"
                )
            whole = (size,) if isinstance(size, int) else size
            if not isinstance(whole, Sequence) or not all(isinstance(n, int) for n in whole):
                raise InnflowError(
                    f"partition.{side}.{name}={size}: takes whole numbers, one or a shape"
                )
            if name in shapes and tuple(whole) != tuple(shapes[name]):
                raise InnflowError(
                    f"partition.{side}.{name}={size}: the data set has {name} of shape "
                    f"{tuple(shapes[name])}; partition.{side}.{name}=data takes that"
                )
            return tuple(whole)

        lefts = {name: shape("left", name, size) for name, size in left.items()}
        given = {name: shape("context", name, size) for name, size in (context or {}).items()}
        known = {name: shape("right", name, size) for name, size in right.items() if size != "rest"}
        open_parts = [name for name in right if name not in known]
        if len(open_parts) > 1:
            raise InnflowError(f"partition.right: only one part can be rest, not {open_parts}")
        rest = _total(lefts) - _total(known)
        if open_parts and rest < 1:
            raise InnflowError(
                f"partition: left {_row(lefts)}, right {_row(known)}: "
                f"nothing is left over for {open_parts[0]}"
            )
        return cls(lefts, {name: known.get(name, (rest,)) for name in right}, given)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the joined left, without the batch: what the flow is built for."""
        first = next(iter(self.left.values()))
        return (sum(shape[0] for shape in self.left.values()), *first[1:])

    @property
    def features(self) -> int:
        """Number of dimensions of either side."""
        return _total(self.left)

    @property
    def context_features(self) -> int:
        """Number of context features that every coupling sees."""
        return _total(self.context)

    def join_context(self, parts: Mapping[str, Tensor]) -> Tensor | None:
        """Put the context parts side by side, (B, context_features); None where there are none."""
        if not self.context:
            return None
        missing = [name for name in self.context if name not in parts]
        if missing:
            raise InnflowError(f"partition: context {', '.join(missing)} is missing")
        return torch.cat([parts[name].flatten(1) for name in self.context], dim=1)

    def join(self, side: Side, parts: Mapping[str, Tensor]) -> Tensor:
        """Stack the parts of one side on dim 1: left (B, *shape), right (B, features)."""
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
        """Return the parts of one side as views of a joined tensor, in their own shapes."""
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

    def _side(self, side: Side) -> Mapping[str, tuple[int, ...]]:
        if side not in ("left", "right"):
            raise InnflowError(f"partition: side {side!r} is unknown: takes left or right")
        return self.left if side == "left" else self.right

    @staticmethod
    def describe(left: Mapping[str, tuple[int, ...]], right: Mapping[str, tuple[int, ...]]) -> str:
        """Return one readable line: `left 12 = x 8 + eps 4, right 10 = y 3 + z 7`."""
        return f"left {_total(left)} = {_row(left)}, right {_total(right)} = {_row(right)}"

    def __str__(self) -> str:
        """Say which parts stand on which side."""
        given = f", given {_row(self.context)}" if self.context else ""
        return self.describe(self.left, self.right) + given


def _total(parts: Mapping[str, tuple[int, ...]]) -> int:
    return sum(math.prod(shape) for shape in parts.values())


def _row(parts: Mapping[str, tuple[int, ...]]) -> str:
    return " + ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in parts.items())
