"""Tables of the time of training steps, log_prob and sampling of each library."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import ours, peers, variants
from benchmarks.table import Table
from benchmarks.timing import clock_of, interleave, ratios, spread
from benchmarks.work import BARE, BF16, COMPILED, CONTIGUOUS, NFLOWS, OURS, REVERSIBLE, Work, split

COMPILERS = ("g++", "clang++", "c++")
"""C++ compilers; torch.compile needs one of them."""
COMPILE_SECONDS = 180.0
"""Time limit of the compilation of one flow."""
IMAGES = 1000
"""Number of images that are sampled, and whose log_prob is computed."""
Calls = dict[str, Callable[[], object]]


def build(name: str, work: Work, nets: Sequence[nn.Module]) -> Any:
    """Build the flow of a contender with copies of the given coupling networks.

    A compiled flow compiles in its first calls.
    """
    library, options = split(name)
    if library == OURS:
        flow: Any = ours.build(work, nets)
        flow.reversible = REVERSIBLE in options
        if COMPILED in options:
            variants.compile_flow(flow)
        if CONTIGUOUS in options:
            flow = variants.PlainLayers(flow)
        if BF16 in options:
            flow = variants.Autocast(flow)
    else:
        given = [variants.Bf16(net) for net in nets] if BF16 in options else nets
        flow = peers.BUILD[library](work, given)
    flow.to(work.device)
    if work.is_image and CONTIGUOUS not in options:
        flow = variants.ChannelsLast(flow)
    if library != OURS and COMPILED in options:
        flow = variants.compile_flow(flow)
    return flow


def batch(work: Work, items: int | None = None) -> Tensor:
    """Return standard normal data (items, *shape), with a fixed seed."""
    torch.manual_seed(1)
    return torch.randn(items or work.batch, *work.shape).to(work.device)


def nll(flow: nn.Module, x: Tensor) -> Tensor:
    """Return the mean negative log-likelihood without the normalising constant of the normal."""
    z, logabsdet = flow(x)
    return (0.5 * z.square().flatten(1).sum(dim=1) - logabsdet).mean()


def count(module: nn.Module) -> int:
    """Return the number of trained parameters."""
    return sum(weight.numel() for weight in module.parameters() if weight.requires_grad)


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


def bare_of(name: str, work: Work, nets: Sequence[nn.Module]) -> ours.Bare:
    """Build the bare networks with the options of their name."""
    _, options = split(name)
    return ours.Bare(work, nets, contiguous=CONTIGUOUS in options, bf16=BF16 in options)


def compiled(
    name: str,
    work: Work,
    nets: Sequence[nn.Module],
    run: Callable[[nn.Module], object],
    limit: float,
) -> nn.Module:
    """Build a compiled contender and run it until it is compiled.

    Raises:
        NotCompiledError: if it does not compile within the limit in seconds.
    """
    flow = build(name.replace(f" {COMPILED}", ""), work, nets)
    return variants.compile_within(flow, batch(work), run, limit)


def possible(work: Work) -> tuple[Work, list[str]]:
    """Return the work without contenders that cannot run here, and a note on them.

    Raises:
        InnflowError: if a peer is not installed.
    """
    peers.need(work.contenders)
    torch.compiler.reset()  # forgets the flows of the last table
    torch._dynamo.config.recompile_limit = 64  # else layers of peers beyond the eighth run eagerly
    if any(map(shutil.which, COMPILERS)):
        return work, []
    names = tuple(name for name in work.contenders if COMPILED not in split(name)[1])
    if names == work.contenders:
        return work, []
    notes = [f"compiled flows left out: none of {', '.join(COMPILERS)} is installed"]
    return replace(work, contenders=names), notes


def training(work: Work, rounds: int, least: float, limit: float = COMPILE_SECONDS) -> Table:
    """Time the training step of every contender, relative to the bare networks and to nflows."""
    work, notes = possible(work)
    nets, x = ours.networks(work), batch(work)
    calls: Calls = {}
    counts: dict[str, int | None] = {}
    failed: dict[str, str] = {}
    for name in work.contenders:
        library, options = split(name)
        if library == BARE:
            calls[name], counts[name] = bare_step(bare_of(name, work, nets)), sum(map(count, nets))
            continue
        try:
            if COMPILED in options:
                flow = compiled(name, work, nets, lambda flow: step_of(flow, x)(), limit)
            else:
                flow = build(name, work, nets)
        except variants.NotCompiledError as error:
            failed[name] = f"does not compile: {error}"
            continue
        calls[name], counts[name] = step_of(flow, x), count(flow)
    times = interleave(calls, rounds, least, clock_of(work.device))
    about = "Forward and backward pass of one batch without an optimizer, in fp32 but for bf16 rows"
    if work.is_image:
        about += "; channels last in memory but for contiguous rows"
    table = Table(
        str(work),
        f"{about}.",
        ["", "ms", "times the bare networks", "times as fast as nflows", "parameters"],
        notes=notes,
    )
    for name in work.contenders:
        if name in failed:
            table.rows.append([name, failed[name], None, None, None])
            continue
        milliseconds = spread([1e3 * seconds for seconds in times[name]])
        slower, faster = ratios(times, name, BARE), ratios(times, NFLOWS, name)
        table.rows.append([name, milliseconds, spread(slower), spread(faster), counts[name]])
    return table


def sampling(
    work: Work, rounds: int, least: float, images: int = IMAGES, limit: float = COMPILE_SECONDS
) -> Table:
    """Time sampling and log_prob of the same number of images, for every flow."""
    work, notes = possible(work)
    nets, first = ours.networks(work), batch(work)
    pieces = batch(work, images).split(min(250, images))

    @torch.no_grad()
    def both(flow: Any) -> list[Tensor]:
        flow.eval()
        latents = [flow(x)[0] for x in pieces]
        flow.inverse(latents[0])
        return latents

    calls: Calls = {}
    failed: dict[str, str] = {}
    for name in work.contenders:
        try:
            if COMPILED in split(name)[1]:
                flow: Any = compiled(name, work, nets, both, limit)
            else:
                flow = build(name, work, nets)
                with torch.no_grad():
                    flow(
                        first
                    )  # in training mode, in which ActNorms of peers initialise themselves
        except variants.NotCompiledError as error:
            failed[name] = f"does not compile: {error}"
            continue
        calls[f"{name}, log-prob"] = partial(_all, flow, pieces)
        calls[f"{name}, sampling"] = partial(_all, flow.inverse, both(flow))
    times = interleave(calls, rounds, least, clock_of(work.device))
    table = Table(
        f"Sampling: {work}",
        f"{images:,} images in batches of {min(250, images)}, without gradients; channels last in "
        "memory but for contiguous rows.",
        ["", "log-prob, ms", "sampling, ms", "sampling / log-prob", "nflows' sampling / this"],
        notes=notes,
    )
    for name in work.contenders:
        if name in failed:
            table.rows.append([name, failed[name], None, None, None])
            continue
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
