"""Builders of flows on vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Literal

from nflows.transforms.base import Transform

from innflow.errors import InnflowError
from innflow.flow.actnorm import ActNorm
from innflow.flow.coupling import Coupling, Subnet
from innflow.flow.fused.chain import Chain
from innflow.flow.multiscale import CouplingFlow
from innflow.flow.network.base import need_sizes
from innflow.flow.network.mlp import MLP
from innflow.flow.permute import Permute, mixing_order
from innflow.flow.reshape import Flatten
from innflow.flow.univariate import Affine, Spline, Univariate
from innflow.flow.whitening import Alignment, Regression

CouplingName = Literal["affine", "spline"]


def univariate(coupling: CouplingName | Univariate) -> Univariate:
    """Return the univariate of a name; one that is made already passes through."""
    if not isinstance(coupling, str):
        return coupling
    if coupling not in ("affine", "spline"):
        raise InnflowError(f"coupling={coupling!r} is unknown: takes affine or spline")
    return Affine() if coupling == "affine" else Spline()


def _vector_steps(
    features: int, depth: int, subnet: Subnet, coupling: Univariate, context: int
) -> list[Transform]:
    steps: list[Transform] = []
    for index in range(depth):
        steps += [
            ActNorm(features),
            Permute(mixing_order(features, index)),
            Coupling(features, subnet, coupling, context),
        ]
    return steps


def vector(
    features: int | Sequence[int],
    depth: int = 8,
    hidden: Sequence[int] = (64, 64),
    coupling: CouplingName | Univariate = "affine",
    context: int = 0,
    subnet: Subnet | None = None,
    align: bool = False,
) -> CouplingFlow:
    """Build a flow on vectors: ActNorm, permutation and coupling, `depth` times.

    With a context a `Regression` on it comes first: what is linear and Gaussian needs no learning.

    Args:
        features: D, or the shape (D,).
        depth: number of couplings.
        hidden: widths of the coupling networks.
        coupling: `affine` (RealNVP), `spline` (neural spline flow) or a `Univariate`.
        context: number of context features that every coupling network sees.
        subnet: makes the coupling network; an MLP by default.
        align: end with an `Alignment`, for flows whose first latents have targets.
    """
    size = features if isinstance(features, int) else math.prod(features)
    need_sizes("vector flow", features=size, depth=depth)
    make = partial(subnet or MLP, hidden=hidden)
    steps = _vector_steps(size, depth, make, univariate(coupling), context)
    if context:
        steps.insert(0, Regression(size, context))
    if align:
        steps.append(Alignment(size))
    return CouplingFlow((size,), [Chain(steps)], [(size,)])


def flat(
    shape: Sequence[int],
    depth: int = 8,
    hidden: Sequence[int] = (512,),
    coupling: CouplingName | Univariate = "affine",
    context: int = 0,
    subnet: Subnet | None = None,
) -> CouplingFlow:
    """Build a flow on images (C, H, W) that flattens them and goes on as `vector`.

    The simplest image flow: MLP couplings, permutations and normalisation, no notion of
    neighbourhood. Arguments as for `vector`.
    """
    need_sizes("flat flow", depth=depth)
    flatten = Flatten(tuple(shape))
    make = partial(subnet or MLP, hidden=hidden)
    steps = _vector_steps(flatten.features, depth, make, univariate(coupling), context)
    return CouplingFlow(shape, [Chain([flatten, *steps])], [(flatten.features,)])
