"""Tables of the time of training steps, log_prob and sampling of each library."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import ours, peers
from benchmarks.table import Table
from benchmarks.timing import interleave, ratios, spread
from benchmarks.work import (
    BARE,
    BARE_BF16,
    BF16,
    BF16_COMPILED,
    COMPILED,
    NFLOWS,
    OURS,
    REVERSIBLE,
    Work,
)

PREPARE: dict[str, ours.Prepare] = {
    OURS: ours.plain,
    COMPILED: ours.compiled,
    BF16: ours.Autocast,
    BF16_COMPILED: lambda flow: ours.Autocast(ours.compiled(flow)),
    REVERSIBLE: ours.reversible,
}
"""Variants of innflow: a function applied to the flow before it is measured."""

COMPILERS = ("g++", "clang++", "c++")
"""C++ compilers; torch.compile needs one of them."""
IMAGES = 1000
"""Number of images that are sampled, and whose log_prob is computed."""


def build(name: str, work: Work, nets: Sequence[nn.Module]) -> nn.Module:
    """Build the flow of a contender with copies of the given coupling networks."""
    if name in PREPARE:
        return ours.build(work, nets, PREPARE[name])
    return peers.BUILD[name](work, nets)


def batch(work: Work, items: int | None = None) -> Tensor:
    """Return standard normal data (items, *shape), with a fixed seed."""
    torch.manual_seed(1)
    return torch.randn(items or work.batch, *work.shape)


def nll(flow: nn.Module, x: Tensor) -> Tensor:
    """Return the mean negative log-likelihood without the normalising constant of the normal."""
    z, logabsdet = flow(x)
    return (0.5 * z.square().flatten(1).sum(dim=1) - logabsdet).mean()


def step_of(flow: nn.Module, x: Tensor) -> Callable[[], None]:
    """Return a training step without an optimizer: forward pass, loss and backward pass."""
    parameters = [weight for weight in flow.parameters() if weight.requires_grad]

    def step() -> None:
        for weight in parameters:
            weight.grad = None
        nll(flow, x).backward()

    return step


def bare_step(bare: ours.Bare) -> Callable[[], None]:
    """Return a training step of the coupling networks alone."""
    parameters = list(bare.parameters())

    def step() -> None:
        for weight in parameters:
            weight.grad = None
        bare.step()

    return step


def steps(work: Work, seed: int = 0) -> dict[str, Callable[[], None]]:
    """Return the training step of every contender."""
    nets, x = ours.networks(work, seed), batch(work)
    bare = {BARE: ours.Bare, BARE_BF16: ours.BareBF16}
    calls = {}
    for name in work.contenders:
        if name in bare:
            calls[name] = bare_step(bare[name](work, nets))
        else:
            calls[name] = step_of(build(name, work, nets), x)
    return calls


def possible(work: Work) -> tuple[Work, list[str]]:
    """Return the work without contenders that cannot run here, and a note on each of them.

    Raises:
        InnflowError: if a peer is not installed.
    """
    peers.need(work.contenders)
    torch.compiler.reset()  # torch compiles a limited number of flows and runs further ones eagerly
    if any(map(shutil.which, COMPILERS)):
        return work, []
    names = tuple(name for name in work.contenders if name not in (COMPILED, BF16_COMPILED))
    notes = [f"compiled flows left out: none of {', '.join(COMPILERS)} is installed"]
    return replace(work, contenders=names), notes


def training(work: Work, rounds: int, least: float) -> Table:
    """Time the training step of every contender, relative to the bare networks and to nflows."""
    work, notes = possible(work)
    times = interleave(steps(work), rounds, least)
    table = Table(
        str(work),
        "Forward and backward pass of one batch without an optimizer, in fp32 unless named "
        "otherwise.",
        ["", "ms", "times the bare networks", "times as fast as nflows"],
        notes=notes,
    )
    for name in times:
        milliseconds = spread([1e3 * seconds for seconds in times[name]])
        table.rows.append(
            [
                name,
                milliseconds,
                spread(ratios(times, name, BARE)),
                spread(ratios(times, NFLOWS, name)),
            ]
        )
    return table


def sampling(work: Work, rounds: int, least: float, images: int = IMAGES) -> Table:
    """Time sampling and log_prob of the same number of images, for every flow."""
    work, notes = possible(work)
    names = [name for name in work.contenders if name not in (BARE, BARE_BF16)]
    nets, first = ours.networks(work), batch(work)
    pieces = batch(work, images).split(250)
    calls: dict[str, Callable[[], object]] = {}
    for name in names:
        flow: Any = build(name, work, nets)
        with torch.no_grad():
            flow(first)  # in training mode, in which the ActNorms of peers initialise themselves
            flow.eval()
            latents = [flow(x)[0] for x in pieces]
        calls[f"{name}, log-prob"] = partial(_all, flow, pieces)
        calls[f"{name}, sampling"] = partial(_all, flow.inverse, latents)
    times = interleave(calls, rounds, least)
    table = Table(
        f"Sampling: {work}",
        f"{images:,} images in batches of 250, without gradients.",
        ["", "log-prob, ms", "sampling, ms", "sampling / log-prob", "nflows' sampling / this"],
        notes=notes,
    )
    for name in names:
        one, other = f"{name}, log-prob", f"{name}, sampling"
        table.rows.append(
            [
                name,
                *(spread([1e3 * seconds for seconds in times[key]]) for key in (one, other)),
                spread(ratios(times, other, one)),
                spread(ratios(times, f"{NFLOWS}, sampling", other)),
            ]
        )
    return table


def _all(flow: Callable[[Tensor], object], pieces: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for piece in pieces:
            flow(piece)
