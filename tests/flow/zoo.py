"""Every transform and every builder: what the laws of this folder are tested on.

A new transform or builder is tested by a line here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from nflows.transforms.base import CompositeTransform, Transform
from torch import Tensor, nn

from innflow.flow import (
    MLP,
    ActNorm,
    Affine,
    Alignment,
    ConvNet,
    Coupling,
    Flatten,
    LULinear,
    MaskedCoupling,
    Permute,
    Regression,
    Spline,
    flat,
    image,
    vector,
)
from innflow.flow.mask import checkerboard
from innflow.flow.permute import mixing_order
from innflow.flow.squeeze import Squeeze


@dataclass(frozen=True)
class Case:
    """A transform to be made, the shape of one input, and how many context features it takes."""

    make: Callable[[], Transform]
    shape: tuple[int, ...]
    context: int = 0


mlp, conv = partial(MLP, hidden=(16,)), partial(ConvNet, hidden=8)
small = {"depth": 2, "hidden": 8}
board = checkerboard(4, 4)

TRANSFORMS = {
    "actnorm": Case(lambda: ActNorm(5), (5,)),
    "actnorm_image": Case(lambda: ActNorm(3), (3, 4, 2)),
    "lu": Case(lambda: LULinear(6), (6,)),
    "lu_image": Case(lambda: LULinear(4), (4, 2, 3)),
    "alignment": Case(lambda: Alignment(5), (5,)),
    "regression": Case(lambda: Regression(4, 3), (4,), context=3),
    "affine_single": Case(lambda: Coupling(1, mlp, Affine(), context=2), (1,), context=2),
    "permute": Case(lambda: Permute(mixing_order(7, 0)), (7,)),
    "permute_image": Case(lambda: Permute(mixing_order(4, 1)), (4, 2, 3)),
    "squeeze": Case(Squeeze, (2, 4, 6)),
    "flatten": Case(lambda: Flatten((2, 3, 4)), (2, 3, 4)),
    "affine": Case(lambda: Coupling(5, mlp, Affine()), (5,)),
    "affine_image": Case(lambda: Coupling(4, conv, Affine()), (4, 2, 3)),
    "affine_context": Case(lambda: Coupling(5, mlp, Affine(), context=2), (5,), context=2),
    "spline": Case(lambda: Coupling(5, mlp, Spline(bins=5, tail=2.0)), (5,)),
    "spline_image": Case(lambda: Coupling(4, conv, Spline(bins=5, tail=2.0)), (4, 2, 3)),
    "masked_affine": Case(lambda: MaskedCoupling(2, board, conv, Affine()), (2, 4, 4)),
    "masked_spline": Case(lambda: MaskedCoupling(2, ~board, conv, Spline()), (2, 4, 4)),
    "masked_context": Case(
        lambda: MaskedCoupling(1, board, conv, Affine(), context=3), (1, 4, 4), context=3
    ),
    "composite": Case(lambda: CompositeTransform([LULinear(4), Coupling(4, mlp)]), (4,)),
}

FLOWS = {
    "vector_affine": Case(lambda: vector(6, depth=3, hidden=(16,)), (6,)),
    "vector_spline": Case(lambda: vector(5, depth=3, hidden=(16,), coupling="spline"), (5,)),
    "vector_two": Case(lambda: vector(2, depth=4, hidden=(16, 16), coupling="spline"), (2,)),
    "vector_context": Case(lambda: vector(3, depth=2, hidden=(16,), context=2), (3,), context=2),
    "flat": Case(lambda: flat((3, 4, 4), depth=3, hidden=(16,)), (3, 4, 4)),
    "flat_spline": Case(
        lambda: flat((1, 2, 4), depth=2, hidden=(16,), coupling="spline"), (1, 2, 4)
    ),
    "flat_context": Case(
        lambda: flat((1, 2, 4), depth=2, hidden=(16,), context=2), (1, 2, 4), context=2
    ),
    "glow": Case(lambda: image((3, 4, 4), levels=2, **small), (3, 4, 4)),
    "glow_grey": Case(lambda: image((1, 4, 4), levels=1, **small), (1, 4, 4)),
    "glow_oblong": Case(lambda: image((1, 8, 16), levels=3, **small), (1, 8, 16)),
    "glow_spline": Case(lambda: image((1, 4, 4), levels=2, coupling="spline", **small), (1, 4, 4)),
    "glow_context": Case(lambda: image((1, 4, 4), levels=2, context=3, **small), (1, 4, 4), 3),
    "realnvp": Case(lambda: image((3, 4, 4), levels=2, kind="realnvp", **small), (3, 4, 4)),
    "realnvp_grey": Case(lambda: image((1, 4, 4), levels=1, kind="realnvp", **small), (1, 4, 4)),
    "realnvp_spline": Case(
        lambda: image((1, 4, 4), levels=2, kind="realnvp", coupling=Spline(tail=3.0), **small),
        (1, 4, 4),
    ),
    "realnvp_context": Case(
        lambda: image((1, 4, 4), levels=2, kind="realnvp", context=3, **small), (1, 4, 4), 3
    ),
}

ALL = TRANSFORMS | FLOWS


@torch.no_grad()
def perturb(transform: nn.Module, size: float = 1.0) -> nn.Module:
    """Move every parameter as training does, so that nothing is the identity any more.

    A flow of many couplings needs a small `size`: with noise for weights each coupling stretches
    some directions, and the product is no map that training would ever find.
    """
    for parameter in transform.parameters():
        spread = size * 0.5 / parameter[0].numel() ** 0.5 if parameter.dim() > 1 else size * 0.2
        parameter.add_(spread * torch.randn_like(parameter))
    return transform


def draw(case: Case, dtype: torch.dtype = torch.float32, batch: int = 3) -> tuple[Tensor, ...]:
    """Return inputs of order one and, where the case takes one, a context."""
    x = torch.randn(batch, *case.shape, dtype=dtype)
    return (x, torch.randn(batch, case.context, dtype=dtype)) if case.context else (x, None)


def built(case: Case, dtype: torch.dtype = torch.float32) -> Transform:
    """Return the case's transform, perturbed."""
    return perturb(case.make()).to(dtype)
