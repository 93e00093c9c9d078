"""Builders of flows on vectors."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from nflows.transforms.base import CompositeTransform, Transform

from innflow.errors import InnflowError
from innflow.flow.actnorm import ActNorm
from innflow.flow.coupling import Coupling, Subnet
from innflow.flow.given import GivenFirst
from innflow.flow.multiscale import CouplingFlow
from innflow.flow.network.base import fix, need_sizes
from innflow.flow.network.mlp import MLP
from innflow.flow.permute import Permute, mixing_order
from innflow.flow.reshape import Flatten
from innflow.flow.spline import Spline
from innflow.flow.univariate import Affine, Univariate
from innflow.flow.whitening import Alignment, LinearForecast, Regression

BOUND = 8.0
"""Of the log-scale of e in `surrogate`: the width of y falls by orders of magnitude in training."""
FEW = 6
"""Most features of which couplings with `changed="auto"` change one at a time."""
CouplingName = Literal["affine", "spline"]
Changed = int | Literal["auto"] | None


def univariate(coupling: CouplingName | Univariate) -> Univariate:
    """Return the univariate of this name, or the argument itself if it is one already."""
    if not isinstance(coupling, str):
        return coupling
    if coupling not in ("affine", "spline"):
        raise InnflowError(f"coupling={coupling!r} is unknown: must be affine or spline")
    return Affine() if coupling == "affine" else Spline()


def vector_steps(
    features: int,
    depth: int,
    subnet: Subnet,
    coupling: Univariate,
    context: int,
    changed: Changed = None,
) -> list[Transform]:
    """Return ActNorm, permutation and coupling on dim 1, `depth` times; see `vector`."""
    if changed == "auto":
        changed = 1 if features <= FEW else None
    steps: list[Transform] = []
    for index in range(depth):
        order = torch.arange(features).roll(changed) if changed else mixing_order(features, index)
        steps += [ActNorm(features), Permute(order)]
        steps.append(Coupling(features, subnet, coupling, context, changed))
    return steps


def vector(
    features: int | Sequence[int],
    depth: int = 8,
    hidden: Sequence[int] = (64, 64),
    coupling: CouplingName | Univariate = "affine",
    context: int = 0,
    subnet: Subnet | None = None,
    align: bool = False,
    changed: Changed = None,
) -> CouplingFlow:
    """Build a flow on vectors: ActNorm, permutation and coupling, `depth` times.

    With a context the first layer is a `Regression` on it, so that the flow starts at the
    linear-Gaussian approximation of p(x | context).

    Args:
        features: D, or the shape (D,).
        depth: number of couplings.
        hidden: widths of the coupling networks.
        coupling: `affine` (RealNVP), `spline` (neural spline flow) or a `Univariate`.
        context: number of context features that every coupling network reads.
        subnet: makes the coupling networks; an MLP by default.
        align: end with an `Alignment`, for flows whose first latents have targets.
        changed: number of features that a coupling changes, in turn; by default half of them, after
            a permutation. With 1, every feature is given all others, as narrow and curved
            distributions of few dimensions need; "auto" is 1 for up to 6 features.

    Raises:
        InnflowError: if a size is out of range.

    Example:
        >>> vector(2, depth=4, coupling="spline", context=3)
        CouplingFlow(2 <-> 2, 4 couplings, 23,930 parameters)
    """
    size = features if isinstance(features, int) else math.prod(features)
    need_sizes("vector flow", features=size, depth=depth)
    make = fix(subnet or MLP, hidden=hidden)
    steps = vector_steps(size, depth, make, univariate(coupling), context, changed)
    if context:
        steps.insert(0, Regression(size, context))
    if align:
        steps.append(Alignment(size))
    return CouplingFlow((size,), [CompositeTransform(steps)], [(size,)])


def surrogate(
    features: int | Sequence[int],
    observed: int,
    depth: int = 8,
    hidden: Sequence[int] = (64, 64),
    forward: Sequence[int] = (128, 128),
    coupling: CouplingName | Univariate = "spline",
    context: int = 0,
    subnet: Subnet | None = None,
    changed: Changed = None,
) -> CouplingFlow:
    """Build a flow [x, e] <-> [y, z] whose first layers are a surrogate of a forward model.

    They compute y = f(x) + s(x) e, where f is a linear map, initialised by least squares, plus a
    network, and e is data noise or padding of the size of y. The others map x to z given this y, as
    a conditional flow does. A bijection from x alone to y and z cannot have closed level sets of y,
    which forward models with an extremum have. With a context, y is given: there is no surrogate,
    and the flow is that of `vector`.

    Args:
        features: D, or the shape (D,).
        observed: size of y, which comes first on the right, and of e, which comes last on the left.
        depth: number of couplings that map x to z.
        hidden: widths of their networks.
        forward: widths of the network that computes f and s.
        coupling: `affine`, `spline` or a `Univariate`, for the couplings that map x to z.
        context: number of context features; 0 if y is on the right.
        subnet: makes the coupling networks; an MLP by default.
        changed: number of features that a coupling changes, see `vector`.

    Raises:
        InnflowError: if a size is out of range.

    Example:
        >>> import torch
        >>> flow = surrogate(6, observed=2, depth=4)
        >>> flow(torch.randn(5, 6))[0].shape
        torch.Size([5, 6])
    """
    if context:
        return vector(features, depth, hidden, coupling, context, subnet, changed=changed)
    size = features if isinstance(features, int) else math.prod(features)
    need_sizes("surrogate flow", features=size, observed=observed, depth=depth)
    if observed >= size:
        raise InnflowError(f"surrogate flow: observed={observed} of {size} features: must be fewer")
    kept, net = size - observed, subnet or MLP
    simulate = Coupling(size, fix(net, hidden=forward), Affine(BOUND), changed=observed)
    make = fix(net, hidden=hidden)
    steps = vector_steps(kept, depth, make, univariate(coupling), observed, changed)
    given = GivenFirst(observed, CompositeTransform([Regression(kept, observed), *steps]))
    linear, first = LinearForecast(size, observed), Permute(torch.arange(size).roll(observed))
    return CouplingFlow((size,), [CompositeTransform([simulate, linear, first, given])], [(size,)])


def flat(
    shape: Sequence[int],
    depth: int = 8,
    hidden: Sequence[int] = (512,),
    coupling: CouplingName | Univariate = "affine",
    context: int = 0,
    subnet: Subnet | None = None,
) -> CouplingFlow:
    """Build a flow on images (C, H, W): a flattening, then the steps of `vector`.

    `shape` is that of one input, of any length; the other arguments are those of `vector`.

    Example:
        >>> flat((1, 4, 4), depth=2)
        CouplingFlow(1x4x4 <-> 16, 2 couplings, 25,696 parameters)
    """
    need_sizes("flat flow", depth=depth)
    flatten = Flatten(tuple(shape))
    make = fix(subnet or MLP, hidden=hidden)
    steps = vector_steps(flatten.features, depth, make, univariate(coupling), context)
    return CouplingFlow(shape, [CompositeTransform([flatten, *steps])], [(flatten.features,)])
