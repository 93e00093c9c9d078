"""Builders of multi-scale flows on images: Glow, RealNVP, dense Glow."""

from collections.abc import Callable, Sequence

from nflows.transforms.base import CompositeTransform, Transform

from innflow.errors import InnflowError
from innflow.flow.actnorm import ActNorm
from innflow.flow.builder.vector import CouplingName, univariate, vector_steps
from innflow.flow.coupling import Coupling, MaskedCoupling, Subnet
from innflow.flow.linear import LULinear, Orthogonal
from innflow.flow.mask import checkerboard
from innflow.flow.multiscale import CouplingFlow
from innflow.flow.network.base import fix, need_sizes
from innflow.flow.network.conv import ConvNet
from innflow.flow.network.mlp import MLP
from innflow.flow.reshape import Flatten, Squeeze, Unflatten
from innflow.flow.univariate import Univariate

Shape = tuple[int, int, int]
"""(C, H, W)."""


def glow_steps(
    shape: Shape, depth: int, subnet: Subnet, coupling: Univariate, context: int
) -> list[Transform]:
    """Return ActNorm, 1x1 convolution and channel coupling on images (C, H, W), `depth` times."""
    channels, *size = shape
    steps: list[Transform] = []
    for _ in range(depth):
        steps += [ActNorm(channels), LULinear(channels)]
        steps.append(Coupling(channels, fix(subnet, size=tuple(size)), coupling, context))
    return steps


def squeezed(shape: Shape) -> Shape:
    """Return the shape of an image (C, H, W) after a `Squeeze`."""
    return 4 * shape[0], shape[1] // 2, shape[2] // 2


def image_shape(name: str, shape: Sequence[int]) -> Shape:
    """Return (C, H, W) as integers, each at least 1, or raise."""
    if len(shape) != 3:
        raise InnflowError(
            f"{name}: shape={tuple(shape)}: must be that of images (channels, height, width)"
        )
    channels, height, width = (int(size) for size in shape)
    need_sizes(name, channels=channels, height=height, width=width)
    return channels, height, width


def _per_level(
    levels: int, depth: int | Sequence[int], hidden: int | Sequence[int], subnet: Subnet | None
) -> tuple[list[int], list[Subnet]]:
    """Return the number of couplings of each level, and what makes their networks."""
    found = []
    for name, value in (("depth", depth), ("hidden", hidden)):
        values = [value] * levels if isinstance(value, int) else list(value)
        if len(values) != levels or any(value < 1 for value in values):
            raise InnflowError(
                f"image flow: {name}={values} does not fit levels={levels}: "
                "give one number >= 1, or one per level"
            )
        found.append(values)
    return found[0], [fix(subnet or ConvNet, hidden=width) for width in found[1]]


def _multiscale(
    name: str,
    shape: Sequence[int],
    levels: int,
    steps: Callable[[int, Shape], Sequence[Transform]],
) -> CouplingFlow:
    """Build a flow of levels, each of which halves the sides and all but the last the channels.

    `steps(index, shape)` returns the transforms of a level on images (C, H, W).
    """
    size = image_shape(name, shape)
    need_sizes(name, levels=levels)
    if size[1] % 2**levels or size[2] % 2**levels:
        raise InnflowError(
            f"{name}: {size[1]}x{size[2]} cannot be halved levels={levels} times: "
            f"the sides must be divisible by {2**levels}"
        )
    built: list[Transform] = []
    latents: list[Shape] = []
    for index in range(levels):
        built.append(CompositeTransform(steps(index, size)))
        channels, height, width = squeezed(size)
        size = (channels if index == levels - 1 else channels // 2, height, width)
        latents.append(size)
    return CouplingFlow(shape, built, latents)


def glow(
    shape: Sequence[int] = (3, 32, 32),
    levels: int = 3,
    depth: int | Sequence[int] = 8,
    hidden: int | Sequence[int] = 64,
    coupling: CouplingName | Univariate = "affine",
    context: int = 0,
    subnet: Subnet | None = None,
) -> CouplingFlow:
    """Build a multi-scale flow on images (C, H, W) after Glow (arXiv:1807.03039).

    Every level is a squeeze, then `depth` times ActNorm, 1x1 convolution and channel coupling. Half
    of the channels are factored out after every level but the last.

    Args:
        shape: (C, H, W); H and W divisible by 2 ** levels.
        levels: number of scales.
        depth: couplings per level, one number or one per level.
        hidden: channels of the coupling networks, likewise.
        coupling: `affine`, `spline` or a `Univariate`.
        context: number of context features that every coupling network reads.
        subnet: makes the coupling networks, 3x3-1x1-3x3 convolutions by default.

    Raises:
        InnflowError: if the sides cannot be halved so often, or a size is out of range.

    Example:
        >>> glow((3, 8, 8), levels=2, depth=1)
        CouplingFlow(3x8x8 <-> 6x4x4 + 24x2x2, 2 couplings, 41,136 parameters)
    """
    depths, makes = _per_level(levels, depth, hidden, subnet)
    function = univariate(coupling)

    def steps(index: int, size: Shape) -> list[Transform]:
        inner = glow_steps(squeezed(size), depths[index], makes[index], function, context)
        return [Squeeze(), *inner]

    return _multiscale("image flow", shape, levels, steps)


def realnvp(
    shape: Sequence[int] = (3, 32, 32),
    levels: int = 3,
    depth: int | Sequence[int] = 8,
    hidden: int | Sequence[int] = 64,
    coupling: CouplingName | Univariate = "affine",
    context: int = 0,
    subnet: Subnet | None = None,
) -> CouplingFlow:
    """Build a multi-scale flow on images (C, H, W) after RealNVP (arXiv:1605.08803).

    Every level is a number of couplings with checkerboard masks, a squeeze, and couplings on
    channels, `depth` couplings in all; at the last level all are checkerboard ones. An ActNorm
    precedes each. Arguments, latent and errors are those of `glow`.

    Example:
        >>> realnvp((3, 8, 8), levels=2, depth=2)
        CouplingFlow(3x8x8 <-> 6x4x4 + 24x2x2, 4 couplings, 53,280 parameters)
    """
    depths, makes = _per_level(levels, depth, hidden, subnet)
    function = univariate(coupling)

    def steps(index: int, size: Shape) -> list[Transform]:
        channels, height, width = size
        inner = squeezed(size)
        spatial = depths[index] if index == levels - 1 else (depths[index] + 1) // 2
        layers: list[Transform] = []
        for number in range(spatial):
            mask = checkerboard(height, width, flip=number % 2 == 1)
            net = fix(makes[index], size=(height, width))
            layers += [ActNorm(channels), MaskedCoupling(channels, mask, net, function, context)]
        rest, net = depths[index] - spatial, fix(makes[index], size=inner[1:])
        return [*layers, Squeeze(), *vector_steps(inner[0], rest, net, function, context)]

    return _multiscale("image flow", shape, levels, steps)


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

    Glow without convolutions: every level flattens the image, then applies `depth` times a
    pixelwise ActNorm, a fixed random rotation and a coupling whose network is an MLP. Half of the
    channels are factored out after every level but the last. Arguments and errors are those of
    `glow`, but `depth` is one number, `hidden` holds the widths of an MLP, and `subnet` makes
    networks on vectors.

    Example:
        >>> dense((1, 4, 4), levels=2, depth=1, hidden=(8,))
        CouplingFlow(1x4x4 <-> 2x2x2 + 8x1x1, 2 couplings, 376 parameters)
    """
    need_sizes("dense flow", depth=depth)
    function, make = univariate(coupling), fix(subnet or MLP, hidden=hidden)

    def steps(_: int, size: Shape) -> list[Transform]:
        flatten = Flatten(squeezed(size))
        layers: list[Transform] = [Squeeze(), flatten]
        for _ in range(depth):
            layers += [ActNorm(flatten.features), Orthogonal(flatten.features)]
            layers.append(Coupling(flatten.features, make, function, context))
        return [*layers, Unflatten(flatten.shape)]

    return _multiscale("dense flow", shape, levels, steps)
