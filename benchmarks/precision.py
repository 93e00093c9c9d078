"""Bits per dim of a trained flow with bf16 and with fp32 coupling networks."""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import ours
from benchmarks.measure import nll
from benchmarks.table import Table
from benchmarks.variants import Autocast
from benchmarks.work import Work

LEVELS = 256


def smooth_images(count: int, work: Work, seed: int) -> Tensor:
    """Return random smooth 8-bit images, dequantized and squeezed, (N, *shape)."""
    generator = torch.Generator().manual_seed(seed)
    channels, height, width = work.shape
    size = (2 * height, 2 * width)
    coarse = torch.randn(count, channels // 4, height // 2, width // 2, generator=generator)
    fine = torch.randn(count, channels // 4, *size, generator=generator)
    smooth = F.interpolate(coarse, size, mode="bicubic") + 0.05 * fine
    pixels = (LEVELS * torch.sigmoid(1.5 * smooth)).floor().clamp(0, LEVELS - 1)
    noise = torch.rand(pixels.shape, generator=generator)
    return F.pixel_unshuffle((pixels + noise) / LEVELS - 0.5, 2)


@torch.no_grad()
def bits_per_dim(flow: nn.Module, x: Tensor, work: Work) -> float:
    """Return the mean bits per dim of dequantized images (N, *shape)."""
    total = sum(float(nll(flow, some)) * len(some) for some in x.split(work.batch))
    constant = 0.5 * work.dims * math.log(2 * math.pi) + work.dims * math.log(LEVELS)
    return (total / len(x) + constant) / (work.dims * math.log(2))


def train(flow: nn.Module, x: Tensor, work: Work, count: int) -> None:
    """Train for `count` steps of Adam on batches of x, in order."""
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3)
    for index in range(count):
        some = x[torch.arange(index * work.batch, (index + 1) * work.batch) % len(x)]
        optimizer.zero_grad(set_to_none=True)
        nll(flow, some).backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimizer.step()


def precision(work: Work, count: int = 200, images: int = 512) -> Table:
    """Train in fp32 and in bf16 from the same weights and compare the bits per dim."""
    x, held_out = (
        smooth_images(size, work, seed).to(work.device) for size, seed in ((2048, 2), (images, 3))
    )
    flow = ours.build(work, ours.networks(work)).to(work.device)
    flow.initialise(x[: work.batch])
    other = copy.deepcopy(flow)
    train(flow, x, work, count)
    train(Autocast(other), x, work, count)
    base = bits_per_dim(flow, held_out, work)
    rows = {
        "trained and evaluated in fp32": base,
        "the same weights, evaluated with bf16 networks": bits_per_dim(
            Autocast(flow), held_out, work
        ),
        "trained with bf16 networks, evaluated in fp32": bits_per_dim(other, held_out, work),
    }
    return Table(
        f"Bits per dim with bf16 networks: {work}",
        f"{count} steps of Adam on random smooth images, from the same initial weights; "
        f"{images:,} test images.",
        ["", "bits/dim", "difference to fp32"],
        [[name, f"{value:.4f}", f"{value - base:+.4f}"] for name, value in rows.items()],
    )
