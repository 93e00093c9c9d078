"""Compilation of flows in regions, of which those with equal layers share one graph.

The time to compile one graph of a whole flow grows with its depth.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from types import FunctionType
from typing import Any

import torch
from nflows.transforms.base import CompositeTransform, Transform
from torch import Tensor

from innflow.flow.coupling import BaseCoupling

SIZES = (4, 5, 6)
"""Numbers of couplings in a region: fewer compile faster, but each call of a region takes as long
as a few operations of a small flow."""

Layers = Sequence[Transform]
Call = Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]]


def compile_levels(
    levels: Iterable[Transform], *args: Any, **options: Any
) -> tuple[list[Call], list[Call]]:
    """Return the levels of a flow and their inverses, compiled at their first call.

    Args:
        levels: of a `CouplingFlow`.
        args: of `torch.compile`.
        options: of `torch.compile`.
    """
    found: dict[Any, Any] = {}

    def compiled(function: Any, layers: Layers) -> Any:
        key = (function, kind(layers))
        if key not in found:
            # Compiled graphs belong to the code of a function, and PyTorch treats sizes as
            # variables which differ between them: each kind of region needs a code of its own.
            code = function.__code__.replace(co_name=f"{function.__name__}_{len(found)}")
            found[key] = torch.compile(FunctionType(code, function.__globals__), *args, **options)
        return found[key]

    forward: list[Call] = []
    inverse: list[Call] = []
    for level in levels:
        lead, *regions, tail = divide(level)
        chain = [partial(_region, compiled(_forward, region), region) for region in regions]
        if len(regions) == 1:
            chain = [partial(compiled(_forward, regions[0]), regions[0])]
        forward.append(partial(_chain, [partial(_forward, lead), *chain, partial(_forward, tail)]))
        back = [partial(compiled(_inverse, region), region) for region in reversed(regions)]
        inverse.append(partial(_chain, [partial(_inverse, tail), *back, partial(_inverse, lead)]))
    return forward, inverse


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


def _region(
    run: Any, layers: Layers, inputs: Tensor, context: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Run a compiled region that is one of several.

    Without a gradient of its inputs the first region would need a graph of its own.
    """
    trained = torch.is_grad_enabled() and not inputs.requires_grad
    if trained and any(weight.requires_grad for one in layers for weight in one.parameters()):
        inputs = inputs.detach().requires_grad_()
    return run(layers, inputs, context)


def _chain(calls: Sequence[Any], outputs: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
    total = outputs.new_zeros(len(outputs))
    for call in calls:
        outputs, logabsdet = call(outputs, context)
        total = total + logabsdet
    return outputs, total
