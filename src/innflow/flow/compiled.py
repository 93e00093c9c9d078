"""Compilation of flows in regions, of which those with equal layers share one graph.

The time to compile one graph of a whole flow grows with its depth.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from types import FunctionType
from typing import Any

import torch
from nflows.transforms.base import CompositeTransform, Transform
from torch import Tensor

from innflow.flow.coupling import BaseCoupling
from innflow.flow.fused.dispatch import channels_last

SIZES = (4, 5, 6)
"""Numbers of couplings in a region: fewer compile faster, but each call of a region takes as long
as a few operations of a small flow."""

Layers = Sequence[Transform]


class CompiledLevels:
    """The levels of a flow in both directions, compiled at their first call.

    Args:
        levels: of a `CouplingFlow`.
        args: of `torch.compile`.
        options: of `torch.compile`.
    """

    def __init__(self, levels: Iterable[Transform], *args: Any, **options: Any) -> None:
        found: dict[Any, Any] = {}

        def compiled(layers: Layers) -> tuple[Any, Any]:
            # Compiled graphs belong to the code of a function, and PyTorch treats sizes as
            # variables which differ between them: each kind of region needs a code of its own.
            if kind(layers) not in found:
                codes = [run.__code__.replace(co_name=f"{run.__name__}{len(found)}") for run in RUN]
                copies = [FunctionType(code, globals()) for code in codes]
                found[kind(layers)] = [torch.compile(run, *args, **options) for run in copies]
            return found[kind(layers)]

        self.parts = []
        for level in levels:
            lead, *regions, tail = divide(level)
            parts = [(lead, RUN), *((region, compiled(region)) for region in regions), (tail, RUN)]
            self.parts.append([part for part in parts if part[0]])

    def __call__(
        self, level: int, inputs: Tensor, context: Tensor | None, inverse: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return the outputs of a level or of its inverse, and logabsdet (B,)."""
        parts, outputs = self.parts[level], inputs
        terms: list[Tensor] = []
        for layers, runs in reversed(parts) if inverse else parts:
            if len(parts) > 1 and torch.is_grad_enabled() and not outputs.requires_grad:
                # Without a gradient of its inputs the first region would need its own graph.
                weights = (weight for layer in layers for weight in layer.parameters())
                trained = any(weight.requires_grad for weight in weights)
                outputs = outputs.detach().requires_grad_() if trained else outputs
            outputs, logabsdet = runs[inverse](layers, channels_last(outputs), context)
            terms.append(logabsdet)
        return outputs, sum(terms[1:], terms[0])


def kind(layers: Layers) -> Any:
    """Return classes and shapes of layers, equal for layers that share a graph."""
    return tuple(
        (type(layer), *(value.shape for value in layer.state_dict().values())) for layer in layers
    )


def divide(level: Transform) -> list[Layers]:
    """Divide a level into layers before its regions, the regions, and layers after them.

    A region ends with a coupling. Their size is that with the fewest different layers to compile,
    and of several such sizes the largest. Layers that stand only before the first region or after
    the last one are not compiled, unless the whole level is one region.
    """
    steps = list(level._transforms) if type(level) is CompositeTransform else [level]
    ends = [index + 1 for index, step in enumerate(steps) if isinstance(step, BaseCoupling)]
    if len(ends) <= min(SIZES):
        return [[], steps, []]
    first = max(2 * ends[0] - ends[1], 0)  # layers that do not stand before the second coupling

    def cut(size: int) -> list[Layers]:
        bounds = [first, *ends[size - 1 : -1 : size], ends[-1]]
        return [steps[start:end] for start, end in pairwise(bounds)]

    def cost(size: int) -> tuple[int, int]:
        return sum(map(len, set(map(kind, cut(size))))), -size

    best = min((*SIZES, len(ends)), key=cost)
    return [[], steps, []] if best == len(ends) else [steps[:first], *cut(best), steps[ends[-1] :]]


def _forward(layers: Layers, outputs: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    total = outputs.new_zeros(len(outputs))
    for layer in layers:
        outputs, logabsdet = layer(outputs, context)
        total = total + logabsdet
    return outputs, total


def _inverse(layers: Layers, outputs: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    total = outputs.new_zeros(len(outputs))
    for layer in reversed(layers):
        outputs, logabsdet = layer.inverse(outputs, context)
        total = total + logabsdet
    return outputs, total


RUN = (_forward, _inverse)
