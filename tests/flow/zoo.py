"""Every transform and every builder: the cases of the property tests.

A new transform or builder is tested by adding a line here.
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
    Autoencoder,
    ConvNet,
    Coupling,
    Flatten,
    GatedNet,
    GivenFirst,
    ImageMLP,
    LinearForecast,
    LULinear,
    MaskedCoupling,
    Orthogonal,
    PairTokens,
    Patchify,
    Patchwise,
    Permute,
    Regression,
    ResNet,
    Spline,
    Transformer,
    dense,
    flat,
    glow,
    maps,
    masked,
    patches,
    realnvp,
    surrogate,
    tokens,
    vector,
)
from innflow.flow.mask import checkerboard, quadrant
from innflow.flow.permute import mixing_order
from innflow.flow.reshape import Squeeze, Unflatten, UnpairTokens, halves_order
from innflow.flow.univariate import Univariate


@dataclass(frozen=True)
class Case:
    """A transform to be made, the shape of one input, and how many context features it takes."""

    make: Callable[[], Transform]
    shape: tuple[int, ...]
    context: int = 0


mlp, conv = partial(MLP, hidden=(16,)), partial(ConvNet, hidden=8)
small = {"depth": 2, "hidden": 8}
board = checkerboard(4, 4)
resnet, gated = partial(ResNet, hidden=4, blocks=1), partial(GatedNet, hidden=4, layers=2)
squeezing = partial(Autoencoder, hidden=4, bottleneck=3)
flattening = partial(ImageMLP, hidden=16, layers=1)
attending = partial(Transformer, hidden=8, heads=2)


def cycle(context: int = 0, univariate: Univariate | None = None) -> MaskedCoupling:
    """Return a coupling that reads the first quadrant of 5x4 pixels and changes the second."""
    reads, changes = (quadrant(5, 4, index) for index in range(2))
    return MaskedCoupling(2, reads, conv, univariate, context, changes)


def patched(context: int = 0) -> Patchwise:
    """Return three layers on each of 2x3 patches."""
    layers = [Squeeze(), LULinear(4), Coupling(4, conv, context=context)]
    return Patchwise(CompositeTransform(layers), 2, 3)


TRANSFORMS = {
    "actnorm": Case(lambda: ActNorm(5), (5,)),
    "actnorm_image": Case(lambda: ActNorm(3), (3, 4, 2)),
    "lu": Case(lambda: LULinear(6), (6,)),
    "lu_image": Case(lambda: LULinear(4), (4, 2, 3)),
    "alignment": Case(lambda: Alignment(5), (5,)),
    "linear_forecast": Case(lambda: LinearForecast(5, 2), (5,)),
    "regression": Case(lambda: Regression(4, 3), (4,), context=3),
    "affine_single": Case(lambda: Coupling(1, mlp, Affine(), context=2), (1,), context=2),
    "permute": Case(lambda: Permute(mixing_order(7, 0)), (7,)),
    "permute_image": Case(lambda: Permute(mixing_order(4, 1)), (4, 2, 3)),
    "squeeze": Case(Squeeze, (2, 4, 6)),
    "flatten": Case(lambda: Flatten((2, 3, 4)), (2, 3, 4)),
    "affine": Case(lambda: Coupling(5, mlp, Affine()), (5,)),
    "affine_last": Case(lambda: Coupling(5, mlp, Affine(8.0), changed=1), (5,)),
    "given_first": Case(
        lambda: GivenFirst(2, CompositeTransform([Regression(3, 2), Coupling(3, mlp, context=2)])),
        (5,),
    ),
    "affine_image": Case(lambda: Coupling(4, conv, Affine()), (4, 2, 3)),
    "affine_context": Case(lambda: Coupling(5, mlp, Affine(), context=2), (5,), context=2),
    "spline": Case(lambda: Coupling(5, mlp, Spline(bins=5, tail=2.0)), (5,)),
    "spline_image": Case(lambda: Coupling(4, conv, Spline(bins=5, tail=2.0)), (4, 2, 3)),
    "masked_affine": Case(lambda: MaskedCoupling(2, board, conv, Affine()), (2, 4, 4)),
    "masked_spline": Case(lambda: MaskedCoupling(2, ~board, conv, Spline()), (2, 4, 4)),
    "masked_affine_context": Case(
        lambda: MaskedCoupling(1, board, conv, Affine(), context=3), (1, 4, 4), context=3
    ),
    "cycle_affine": Case(cycle, (2, 5, 4)),
    "cycle_spline": Case(lambda: cycle(univariate=Spline(tail=2.0)), (2, 5, 4)),
    "cycle_context": Case(lambda: cycle(context=2), (2, 5, 4), context=2),
    "orthogonal": Case(lambda: Orthogonal(6), (6,)),
    "orthogonal_image": Case(lambda: Orthogonal(4), (4, 2, 3)),
    "unflatten": Case(lambda: Unflatten((2, 3, 4)), (24,)),
    "patchwise": Case(patched, (1, 4, 6)),
    "patchwise_context": Case(lambda: patched(context=2), (1, 4, 6), context=2),
    "resnet": Case(lambda: Coupling(4, resnet), (4, 2, 3)),
    "resnet_context": Case(lambda: Coupling(4, resnet, context=2), (4, 2, 3), context=2),
    "gated": Case(lambda: Coupling(4, gated), (4, 2, 3)),
    "gated_context": Case(lambda: Coupling(4, gated, context=2), (4, 2, 3), context=2),
    "autoencoder": Case(lambda: Coupling(4, partial(squeezing, size=(2, 3))), (4, 2, 3)),
    "autoencoder_context": Case(
        lambda: Coupling(4, partial(squeezing, size=(2, 3)), context=2), (4, 2, 3), context=2
    ),
    "dense": Case(lambda: Coupling(4, partial(flattening, size=(2, 3))), (4, 2, 3)),
    "dense_context": Case(
        lambda: Coupling(4, partial(flattening, size=(2, 3)), context=2), (4, 2, 3), context=2
    ),
    "patchify": Case(lambda: Patchify((2, 4, 6), patch=2), (2, 4, 6)),
    "pair_tokens": Case(lambda: PairTokens(halves_order("columns", 2, 4)), (3, 8)),
    "unpair_tokens": Case(lambda: UnpairTokens(halves_order("checkerboard", 2, 4)), (6, 4)),
    "transformer": Case(lambda: Coupling(4, partial(attending, size=(6,))), (4, 6)),
    "transformer_context": Case(
        lambda: Coupling(5, partial(attending, size=(2, 3)), Spline(), context=2),
        (5, 2, 3),
        context=2,
    ),
    "composite": Case(lambda: CompositeTransform([LULinear(4), Coupling(4, mlp)]), (4,)),
}

FLOWS = {
    "vector_affine": Case(lambda: vector(6, depth=3, hidden=(16,)), (6,)),
    "vector_spline": Case(lambda: vector(5, depth=3, hidden=(16,), coupling="spline"), (5,)),
    "vector_two": Case(lambda: vector(2, depth=4, hidden=(16, 16), coupling="spline"), (2,)),
    "vector_context": Case(lambda: vector(3, depth=2, hidden=(16,), context=2), (3,), context=2),
    "surrogate": Case(lambda: surrogate(6, 2, depth=3, hidden=(16,), forward=(16,)), (6,)),
    "flat": Case(lambda: flat((3, 4, 4), depth=3, hidden=(16,)), (3, 4, 4)),
    "flat_spline": Case(
        lambda: flat((1, 2, 4), depth=2, hidden=(16,), coupling="spline"), (1, 2, 4)
    ),
    "flat_context": Case(
        lambda: flat((1, 2, 4), depth=2, hidden=(16,), context=2), (1, 2, 4), context=2
    ),
    "glow": Case(lambda: glow((3, 4, 4), levels=2, **small), (3, 4, 4)),
    "glow_grey": Case(lambda: glow((1, 4, 4), levels=1, **small), (1, 4, 4)),
    "glow_oblong": Case(lambda: glow((1, 8, 16), levels=3, **small), (1, 8, 16)),
    "glow_spline": Case(lambda: glow((1, 4, 4), levels=2, coupling="spline", **small), (1, 4, 4)),
    "glow_context": Case(lambda: glow((1, 4, 4), levels=2, context=3, **small), (1, 4, 4), 3),
    "realnvp": Case(lambda: realnvp((3, 4, 4), levels=2, **small), (3, 4, 4)),
    "realnvp_grey": Case(lambda: realnvp((1, 4, 4), levels=1, **small), (1, 4, 4)),
    "realnvp_spline": Case(
        lambda: realnvp((1, 4, 4), levels=2, coupling=Spline(tail=3.0), **small),
        (1, 4, 4),
    ),
    "realnvp_context": Case(lambda: realnvp((1, 4, 4), levels=2, context=3, **small), (1, 4, 4), 3),
    "realnvp_autoencoder": Case(
        lambda: realnvp((1, 4, 4), levels=2, subnet=squeezing, depth=2, hidden=4),
        (1, 4, 4),
    ),
    "glow_autoencoder": Case(
        lambda: glow((1, 4, 4), levels=2, subnet=squeezing, depth=2, hidden=4), (1, 4, 4)
    ),
    "glow_dense": Case(lambda: dense((1, 4, 4), levels=2, depth=2, hidden=(8,)), (1, 4, 4)),
    "glow_dense_context": Case(
        lambda: dense((2, 2, 4), levels=1, depth=2, hidden=(8,), coupling="spline", context=3),
        (2, 2, 4),
        context=3,
    ),
    "glow_patches": Case(lambda: patches((1, 8, 4), patch=4, **small), (1, 8, 4)),
    "glow_patches_context": Case(
        lambda: patches((2, 4, 4), patch=2, context=3, **small), (2, 4, 4), context=3
    ),
    "glow_maps": Case(lambda: maps((5, 3, 2), **small), (5, 3, 2)),
    "glow_maps_context": Case(
        lambda: maps((2, 3, 2), context=2, coupling="spline", **small), (2, 3, 2), context=2
    ),
    "tokens": Case(
        lambda: tokens((2, 4, 4), 2, 4, 8, ["channels", "spatial"], subnet=attending), (2, 4, 4)
    ),
    "tokens_spline_context": Case(
        lambda: tokens((1, 2, 6), 1, 2, 8, ["spatial"], "spline", 3, attending), (1, 2, 6), 3
    ),
    "tokens_odd": Case(
        lambda: tokens((1, 3, 9), 3, 2, 8, ["channels"], subnet=attending), (1, 3, 9)
    ),
    "masked_cycle": Case(lambda: masked((1, 5, 4), depth=4, hidden=4, subnet=squeezing), (1, 5, 4)),
    "masked_horizontal": Case(lambda: masked((2, 5, 3), "horizontal", **small), (2, 5, 3)),
    "masked_vertical": Case(
        lambda: masked((1, 3, 4), "vertical", coupling="spline", **small), (1, 3, 4)
    ),
    "masked_board": Case(
        lambda: masked((1, 4, 4), "checkerboard", depth=2, hidden=8, subnet=gated), (1, 4, 4)
    ),
    "masked_context": Case(
        lambda: masked((1, 4, 4), depth=4, hidden=16, subnet=flattening, context=2),
        (1, 4, 4),
        context=2,
    ),
}

ALL = TRANSFORMS | FLOWS


@torch.no_grad()
def perturb(transform: nn.Module, size: float = 1.0) -> nn.Module:
    """Add noise to every parameter, so that no layer is the identity.

    A flow of many couplings needs a small `size`, or it becomes too ill-conditioned to invert.
    """
    for parameter in transform.parameters():
        spread = size * 0.5 / parameter[0].numel() ** 0.5 if parameter.dim() > 1 else size * 0.2
        parameter.add_(spread * torch.randn_like(parameter))
    return transform


def draw(case: Case, dtype: torch.dtype = torch.float32, batch: int = 3) -> tuple[Tensor, ...]:
    """Return inputs of order one and, where the case takes one, a context."""
    x = torch.randn(batch, *case.shape, dtype=dtype)
    return (x, torch.randn(batch, case.context, dtype=dtype)) if case.context else (x, None)


def apply_spline(
    x: Tensor,
    widths: Tensor,
    heights: Tensor,
    slopes: Tensor,
    tail: float,
    inverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """Apply one spline to each x (N,), with raw parameters (N, K), (N, K) and (N, K - 1)."""
    spline = Spline(widths.shape[-1], tail)
    run = spline.inverse if inverse else spline.forward
    outputs, log_slope = run(x[:, None], torch.cat((widths, heights, slopes), dim=-1))
    return outputs[:, 0], log_slope[:, 0]


def built(case: Case, dtype: torch.dtype = torch.float32) -> Transform:
    """Return the case's transform, perturbed.

    It is made in the given precision: a matrix that is orthogonal in float32 is so to seven digits.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return perturb(case.make()).to(dtype)
    finally:
        torch.set_default_dtype(before)


def kept_bytes(run: Callable[[], object]) -> int:
    """Return the bytes of all distinct memory that a forward pass keeps for its backward pass."""
    kept = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return sum(kept.values())
