"""Builder of flows on tokens: transformer couplings of patches, after Jet (arXiv:2412.15129)."""

from collections import Counter
from collections.abc import Sequence
from itertools import cycle, islice
from typing import Literal

from nflows.transforms.base import CompositeTransform, Transform

from innflow.errors import InnflowError
from innflow.flow.actnorm import ActNorm
from innflow.flow.builder.image import image_shape
from innflow.flow.builder.vector import CouplingName, univariate
from innflow.flow.coupling import Coupling, Subnet
from innflow.flow.multiscale import CouplingFlow
from innflow.flow.network.base import fix, need_sizes
from innflow.flow.network.transformer import Transformer
from innflow.flow.permute import Permute, mixing_order
from innflow.flow.reshape import Halves, PairTokens, Patchify, UnpairTokens, halves_order
from innflow.flow.univariate import Univariate

Split = Literal["channels", "spatial", "checkerboard", "columns", "rows"]
ROUND: tuple[Halves, ...] = ("checkerboard", "columns", "rows")
"""Splits that `spatial` alternates between, each twice: both halves are transformed once."""


def tokens(
    shape: Sequence[int] = (3, 32, 32),
    patch: int = 4,
    depth: int = 16,
    hidden: int = 128,
    splits: Sequence[Split] = ("channels", "channels", "channels", "channels", "spatial"),
    coupling: CouplingName | Univariate = "affine",
    context: int = 0,
    subnet: Subnet | None = None,
) -> CouplingFlow:
    """Build a flow on images (C, H, W) cut into tokens, with transformers as coupling networks.

    A coupling transforms half of the features of every token given the others, in a fixed random
    order (`channels`), or half of the tokens given the others (`spatial`). As in Jet
    (arXiv:2412.15129) there is one scale and no ActNorm or linear layer between couplings; a single
    ActNorm before the first standardises the features.

    Args:
        shape: (C, H, W); H and W divisible by `patch`.
        patch: side of a patch in pixels.
        depth: couplings.
        hidden: width of the coupling networks.
        splits: of the couplings, repeated to `depth`: `channels`, `spatial`, `checkerboard`,
            `columns` or `rows`; `spatial` alternates between the last three.
        coupling: `affine`, `spline` or a `Univariate`.
        context: number of context features that every coupling network reads.
        subnet: makes the coupling networks, a `Transformer` by default.

    Raises:
        InnflowError: if images, tokens or features cannot be divided as asked.

    Example:
        >>> tokens((3, 8, 8), patch=4, depth=2, hidden=8)
        CouplingFlow(3x8x8 <-> 48x4, 2 couplings, 3,200 parameters)
    """
    patchify = Patchify(image_shape("tokens", shape), patch)
    need_sizes("tokens", depth=depth)
    features, number = patchify.features, patchify.tokens
    _check(splits, features, number, patch)
    function = univariate(coupling)
    make = fix(subnet or Transformer, hidden=hidden)
    whole, half = fix(make, size=(number,)), fix(make, size=(number // 2,))
    steps: list[Transform] = [patchify, ActNorm(features)]
    done: Counter[str] = Counter()
    for split in islice(cycle(splits), depth):
        times = done[split]
        done[split] += 1
        if split == "channels":
            order = mixing_order(features, times)
            steps += [Permute(order), Coupling(features, whole, function, context)]
            continue
        halves = ROUND[times // 2 % len(ROUND)] if split == "spatial" else split
        order = halves_order(halves, patchify.rows, patchify.columns, flip=times % 2 == 1)
        steps += [PairTokens(order), Coupling(2 * features, half, function, context)]
        steps.append(UnpairTokens(order))
    return CouplingFlow(shape, [CompositeTransform(steps)], [(features, number)])


def _check(splits: Sequence[str], features: int, number: int, patch: int) -> None:
    known = ("channels", "spatial", *ROUND)
    if not splits or any(split not in known for split in splits):
        raise InnflowError(
            f"tokens: splits={list(splits)}: must be one or more of {', '.join(known)}"
        )
    if "channels" in splits and features < 2:
        raise InnflowError(
            f"tokens: patch={patch} gives tokens of 1 feature, which splits=[channels] cannot "
            "divide: use larger patches, or splits=[spatial]"
        )
    if number % 2 and set(splits) != {"channels"}:
        raise InnflowError(
            f"tokens: patch={patch} gives {number} tokens, which spatial splits cannot divide in "
            "half: use another patch or size of the images, or splits=[channels]"
        )
