"""Dense Glow: the scales of an image flow without its convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from nflows.transforms.base import Transform

from innflow.flow.actnorm import ActNorm
from innflow.flow.build import CouplingName, check_halvings, image_shape, squeezed, univariate
from innflow.flow.chain import Chain
from innflow.flow.coupling import Coupling, Subnet
from innflow.flow.multiscale import CouplingFlow
from innflow.flow.orthogonal import Orthogonal
from innflow.flow.squeeze import Flatten, Squeeze, Unflatten
from innflow.flow.subnet import MLP, need_sizes
from innflow.flow.univariate import Univariate


def dense(
    shape: Sequence[int] = (1, 28, 28),
    levels: int = 2,
    depth: int = 8,
    hidden: Sequence[int] = (512, 512),
    coupling: CouplingName | Univariate = "affine",
    context: int = 0,
    subnet: Subnet | None = None,
) -> CouplingFlow:
    """Build a dense Glow on images (C, H, W) (Schirrmeister et al., arXiv:2006.10848).

    At every level the image is flattened, then `depth` times standardised pixel by pixel, rotated
    by a fixed random matrix and changed by a coupling whose network is an MLP: the levels and the
    split of Glow, and no notion of neighbourhood.

    Args:
        shape: (C, H, W); H and W divisible by 2 ** levels.
        levels: number of scales.
        depth: couplings per level.
        hidden: widths of the coupling networks.
        coupling: `affine`, `spline` or a `Univariate`.
        context: number of context features that every coupling network sees.
        subnet: makes the coupling network on vectors; an MLP by default.
    """
    size = image_shape("dense flow", shape)
    check_halvings("dense flow", size, levels)
    need_sizes("dense flow", depth=depth)
    function, make = univariate(coupling), partial(subnet or MLP, hidden=hidden)
    built: list[Transform] = []
    latents: list[tuple[int, int, int]] = []
    for level in range(levels):
        channels, height, width = squeezed(size)
        flatten = Flatten((channels, height, width))
        steps: list[Transform] = []
        for _ in range(depth):
            steps += [
                ActNorm(flatten.features),
                Orthogonal(flatten.features),
                Coupling(flatten.features, make, function, context),
            ]
        built.append(Chain([Squeeze(), flatten, *steps, Unflatten(flatten.shape)]))
        size = (channels if level == levels - 1 else channels // 2, height, width)
        latents.append(size)
    return CouplingFlow(shape, built, latents)
