"""Builders of image flows with one scale: masks, patches and feature maps."""

from collections.abc import Sequence

from nflows.transforms.base import CompositeTransform, Transform

from innflow.errors import InnflowError
from innflow.flow.actnorm import ActNorm
from innflow.flow.builder.image import glow_steps, image_shape, squeezed
from innflow.flow.builder.vector import CouplingName, univariate
from innflow.flow.coupling import MaskedCoupling, Subnet
from innflow.flow.mask import MaskName, mask_pairs
from innflow.flow.multiscale import CouplingFlow
from innflow.flow.network.base import fix, need_sizes
from innflow.flow.network.conv import ConvNet
from innflow.flow.reshape import Patchwise, Squeeze
from innflow.flow.univariate import Univariate


def masked(
    shape: Sequence[int] = (1, 28, 28),
    masks: MaskName = "cycle",
    depth: int = 8,
    hidden: int = 64,
    coupling: CouplingName | Univariate = "affine",
    context: int = 0,
    subnet: Subnet | None = None,
) -> CouplingFlow:
    """Build a single-scale flow on images (C, H, W) with spatial masks (arXiv:2006.08545).

    ActNorm and a masked coupling, `depth` times, without squeeze or split. The receptive field of
    few convolutions covers little of a half or quadrant; an autoencoder or an MLP reads all of it.
    `masks` are `checkerboard`, `horizontal`, `vertical` or `cycle`, see `mask_pairs`; a round of
    the cycle has 4 couplings, of the others 2. The other arguments are those of `glow`, without
    levels.

    Raises:
        InnflowError: if the image cannot be divided by these masks.

    Example:
        >>> masked((1, 4, 4), depth=4, hidden=8)
        CouplingFlow(1x4x4 <-> 1x4x4, 4 couplings, 1,200 parameters)
    """
    channels, height, width = image_shape("masked flow", shape)
    need_sizes("masked flow", depth=depth)
    function = univariate(coupling)
    make = fix(fix(subnet or ConvNet, hidden=hidden), size=(height, width))
    pairs = mask_pairs(masks, height, width)
    steps: list[Transform] = []
    for index in range(depth):
        reads, changes = pairs[index % len(pairs)]
        coupled = MaskedCoupling(channels, reads, make, function, context, changes)
        steps += [ActNorm(channels), coupled]
    return CouplingFlow(shape, [CompositeTransform(steps)], [(channels, height, width)])


def patches(
    shape: Sequence[int] = (3, 32, 32),
    patch: int = 8,
    depth: int = 8,
    hidden: int = 64,
    coupling: CouplingName | Univariate = "affine",
    context: int = 0,
    subnet: Subnet | None = None,
) -> CouplingFlow:
    """Build a local Glow, the same small flow on every patch (arXiv:2006.10848).

    The log-density of an image is the sum over its patches. On each acts a squeeze and `depth`
    steps of Glow. Dependencies between patches are not modelled. `patch` is the side of a patch in
    pixels, even. The other arguments are those of `glow`, without levels.

    Raises:
        InnflowError: if the image cannot be cut into such patches.

    Example:
        >>> patches((1, 8, 8), patch=4, depth=2)
        CouplingFlow(1x8x8 <-> 4x4x4, 2 couplings, 15,456 parameters)
    """
    channels, height, width = image_shape("patch flow", shape)
    need_sizes("patch flow", depth=depth, patch=patch)
    if patch % 2 or height % patch or width % patch:
        raise InnflowError(
            f"patch flow: {height}x{width} cannot be cut into patches of patch={patch}: "
            "give an even number that divides both sides"
        )
    inner = squeezed((channels, patch, patch))
    make = fix(subnet or ConvNet, hidden=hidden)
    steps = [Squeeze(), *glow_steps(inner, depth, make, univariate(coupling), context)]
    whole = Patchwise(CompositeTransform(steps), height // patch, width // patch)
    return CouplingFlow(shape, [whole], [squeezed((channels, height, width))])


def maps(
    shape: Sequence[int],
    depth: int = 8,
    hidden: int = 64,
    coupling: CouplingName | Univariate = "affine",
    context: int = 0,
    subnet: Subnet | None = None,
) -> CouplingFlow:
    """Build a flow on feature maps (C, H, W) of a pretrained network (arXiv:2111.07677).

    ActNorm, 1x1 convolution and channel coupling, `depth` times, at full size. The latent keeps
    the shape of the maps, so that it has a value at every position. C is at least 2.
    Arguments are those of `glow`, without levels.

    Raises:
        InnflowError: if a size is out of range.

    Example:
        >>> maps((4, 3, 3), depth=2)
        CouplingFlow(4x3x3 <-> 4x3x3, 2 couplings, 15,456 parameters)
    """
    size = image_shape("flow on maps", shape)
    need_sizes("flow on maps", depth=depth)
    make = fix(subnet or ConvNet, hidden=hidden)
    steps = glow_steps(size, depth, make, univariate(coupling), context)
    return CouplingFlow(shape, [CompositeTransform(steps)], [size])
