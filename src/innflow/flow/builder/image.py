"""Builders of multi-scale flows on images: Glow, RealNVP, dense Glow."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
from nflows.transforms.base import Transform

from innflow.errors import InnflowError
from innflow.flow.actnorm import ActNorm
from innflow.flow.builder.vector import CouplingName, univariate
from innflow.flow.coupling import Coupling, MaskedCoupling, Subnet
from innflow.flow.fused.chain import Chain
from innflow.flow.linear import LULinear, Orthogonal
from innflow.flow.mask import checkerboard
from innflow.flow.multiscale import CouplingFlow
from innflow.flow.network.base import for_size, need_sizes
from innflow.flow.network.conv import ConvNet
from innflow.flow.network.mlp import MLP
from innflow.flow.permute import Permute, mixing_order
from innflow.flow.reshape import Flatten, Squeeze, Unflatten
from innflow.flow.univariate import Univariate

Kind = Literal["glow", "realnvp"]


def glow_steps(
    shape: tuple[int, int, int], depth: int, subnet: Subnet, coupling: Univariate, context: int
) -> list[Transform]:
    """Return ActNorm, 1x1 convolution and channel coupling on images (C, H, W), `depth` times."""
    channels, *size = shape
    steps: list[Transform] = []
    for _ in range(depth):
        steps += [
            ActNorm(channels),
            LULinear(channels),
            Coupling(channels, for_size(subnet, size), coupling, context),
        ]
    return steps


def squeezed(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the shape of an image (C, H, W) after a `Squeeze`."""
    return 4 * shape[0], shape[1] // 2, shape[2] // 2


def _realnvp_level(
    shape: tuple[int, int, int],
    depth: int,
    subnet: Subnet,
    coupling: Univariate,
    context: int,
    last: bool,
) -> Transform:
    channels, height, width = shape
    spatial = depth if last else (depth + 1) // 2
    before, after = for_size(subnet, (height, width)), for_size(subnet, squeezed(shape)[1:])
    steps: list[Transform] = []
    for index in range(spatial):
        mask = checkerboard(height, width, flip=index % 2 == 1)
        steps += [
            ActNorm(channels),
            MaskedCoupling(channels, mask, before, coupling, context),
        ]
    steps.append(Squeeze())
    for index in range(depth - spatial):
        steps += [
            ActNorm(4 * channels),
            Permute(mixing_order(4 * channels, index)),
            Coupling(4 * channels, after, coupling, context),
        ]
    return Chain(steps)


def image_shape(name: str, shape: Sequence[int]) -> tuple[int, int, int]:
    """Return (C, H, W) as integers, each at least 1, or raise."""
    if len(shape) != 3:
        raise InnflowError(f"{name}: shape={tuple(shape)}: takes images (channels, height, width)")
    channels, height, width = (int(size) for size in shape)
    need_sizes(name, channels=channels, height=height, width=width)
    return channels, height, width


def check_halvings(name: str, shape: tuple[int, int, int], levels: int) -> None:
    """Raise unless an image can be halved so many times."""
    need_sizes(name, levels=levels)
    if shape[1] % 2**levels or shape[2] % 2**levels:
        raise InnflowError(
            f"{name}: {shape[1]}x{shape[2]} cannot be halved levels={levels} times: "
            f"takes sides divisible by {2**levels}"
        )


def _per_level(name: str, value: int | Sequence[int], levels: int) -> list[int]:
    values = [value] * levels if isinstance(value, int) else list(value)
    if len(values) != levels or min(values) < 1:
        raise InnflowError(
            f"image flow: {name}={values} does not fit levels={levels}: "
            "takes one number >= 1, or one per level"
        )
    return values


def image(
    shape: Sequence[int] = (3, 32, 32),
    levels: int = 3,
    depth: int | Sequence[int] = 8,
    hidden: int | Sequence[int] = 64,
    kind: Kind = "glow",
    coupling: CouplingName | Univariate = "affine",
    context: int = 0,
    subnet: Subnet | None = None,
) -> CouplingFlow:
    """Build a multi-scale flow on images (C, H, W).

    Glow (arXiv:1807.03039): at every level a squeeze, then `depth` times ActNorm, 1x1 convolution
    and channel coupling. RealNVP (arXiv:1605.08803): at every level couplings with checkerboard
    masks, a squeeze, couplings on channels, and checkerboard ones alone at the last level. Half of
    the channels leave after every level but the last.

    Args:
        shape: (C, H, W); H and W divisible by 2 ** levels.
        levels: number of scales.
        depth: couplings per level, one number or one per level.
        hidden: channels of the coupling networks, likewise.
        kind: `glow` or `realnvp`.
        coupling: `affine`, `spline` or a `Univariate`.
        context: number of context features that every coupling network sees.
        subnet: makes the coupling network; 3x3-1x1-3x3 convolutions by default.
    """
    size = image_shape("image flow", shape)
    check_halvings("image flow", size, levels)
    depths, widths = _per_level("depth", depth, levels), _per_level("hidden", hidden, levels)
    if kind not in ("glow", "realnvp"):
        raise InnflowError(f"image flow: kind={kind!r} is unknown: takes glow or realnvp")
    function = univariate(coupling)
    built: list[Transform] = []
    latents: list[tuple[int, int, int]] = []
    for level in range(levels):
        make = partial(subnet or ConvNet, hidden=widths[level])
        last = level == levels - 1
        if kind == "glow":
            steps = glow_steps(squeezed(size), depths[level], make, function, context)
            built.append(Chain([Squeeze(), *steps]))
        else:
            built.append(_realnvp_level(size, depths[level], make, function, context, last))
        channels, height, width = squeezed(size)
        size = (channels if last else channels // 2, height, width)
        latents.append(size)
    flow = CouplingFlow(shape, built, latents)
    return flow.to(memory_format=torch.channels_last)  # as the squeezed images that they meet


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
