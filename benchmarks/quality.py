"""Bits per dim after equal time of the Glow of innflow and the Glow of normflows.

    python -m benchmarks.quality ROOT [minutes=15] [threads=2] [size=32] [seed=0] [out=benchmarks]

ROOT holds train/cat/... and test/cat/... (or val/cat/...); any further key=value is an override of
`innflow-train +experiment=cats_glow`. The Glow of normflows is that of its own example: 3 scales of
8 steps with 64 channels, Adamax 1e-3, batch size 64. Both train one after the other on the same
cores, on the same images with the same augmentation, and the same code evaluates both in fp32 on
the whole test set. The time of innflow includes validation, which chooses its best checkpoint; for
normflows the last weights are evaluated. The comparison is fair on an idle machine only.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import innflow
from benchmarks import peers
from benchmarks.startup import run
from benchmarks.table import Table, describe, write
from benchmarks.work import NORMFLOWS
from innflow.config.build import build
from innflow.errors import InnflowError
from innflow.run.load import find_checkpoint, read_checkpoint

DEFAULTS = {"minutes": "15", "threads": "2", "size": "32", "seed": "0", "out": "benchmarks"}
BATCH = 64
DRAWS = 8
LogProb = Callable[[Tensor], Tensor]
"""Maps pixels (B, C, H, W), real numbers from 0 to 256, to log densities (B,) in nats."""


@torch.no_grad()
def evaluate(log_prob: LogProb, images: Tensor, draws: int = DRAWS) -> dict[str, float]:
    """Return bits per dim at the bin centres and with uniform noise, averaged over draws.

    Args:
        log_prob: Maps pixels to log densities.
        images: (N, C, H, W), uint8.
        draws: Number of noise draws; the noise has a fixed seed.
    """
    scale = math.log(2) * images[0].numel()

    def bits(noise: Tensor | float) -> float:
        noisy = (images + noise).split(BATCH)
        total = sum(float(log_prob(pixels).double().sum()) for pixels in noisy)
        return -total / (len(images) * scale)

    source = torch.Generator().manual_seed(0)
    noise = [bits(torch.rand(images.shape, generator=source)) for _ in range(draws)]
    return {"bin centres": bits(0.5), "uniform noise": sum(noise) / draws}


def density_of_ours(flow: nn.Module) -> LogProb:
    """Return the log density of a flow of innflow on pixels / 256 - 1/2, standard normal base."""

    def log_prob(pixels: Tensor) -> Tensor:
        z, logabsdet = flow(pixels / 256 - 0.5)
        normal = -0.5 * (z.square() + math.log(2 * math.pi)).sum(dim=1)
        return normal + logabsdet - z.shape[1] * math.log(256)

    return log_prob


def density_of_normflows(flow: Any) -> LogProb:
    """Return the log density of a flow of normflows on pixels / 256."""
    return lambda pixels: flow.log_prob(pixels / 256, None) - pixels[0].numel() * math.log(256)


def train_ours(
    root: str, folder: Path, settings: dict[str, str], extra: Sequence[str]
) -> tuple[Any, int]:
    """Train with `innflow-train`; return the best application and the number of steps."""
    seconds = round(60 * float(settings["minutes"]))
    clock = f"{seconds // 86400:02d}:{seconds // 3600 % 24:02d}:{seconds // 60 % 60:02d}"
    words = (
        *("innflow-train", "+experiment=cats_glow", f"data.root={root}", f"run_dir={folder}"),
        *(f"data.size={settings['size']}", f"seed={settings['seed']}", "analysis=none"),
        *(f"trainer.max_time='{clock}:{seconds % 60:02d}'", *extra),
    )
    run(words, 0, int(settings["threads"]))
    steps = read_checkpoint(find_checkpoint(folder, "last"))["global_step"]
    return innflow.load(folder), steps


def train_normflows(data: Any, minutes: float, seed: int) -> tuple[nn.Module, int]:
    """Train the Glow of normflows as its example does; return it and the number of steps."""
    torch.manual_seed(seed)
    flow: Any = peers.normflows_glow(data.shape, levels=3, depth=8, hidden=64)
    optimizer = torch.optim.Adamax(flow.parameters(), lr=1e-3, weight_decay=1e-5)
    steps, end = 0, time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        for items in data.train_dataloader():
            x = data.augment(items["x"])
            loss = flow.forward_kld((x + torch.rand(x.shape)) / 256)
            optimizer.zero_grad()
            if torch.isfinite(loss):  # the example skips such a batch, too
                loss.backward()
                optimizer.step()
            steps += 1
            if time.monotonic() >= end:
                break
    return flow, steps


def main(words: Sequence[str]) -> None:
    """Train and evaluate both flows and write the table."""
    if not words or "=" in words[0]:
        raise InnflowError("quality: the first argument must be the folder of the images")
    root = words[0] if "://" in words[0] else str(Path(words[0]).absolute())
    given = dict(word.partition("=")[::2] for word in words[1:])
    settings = DEFAULTS | {name: value for name, value in given.items() if name in DEFAULTS}
    extra = [word for word in words[1:] if word.partition("=")[0] not in DEFAULTS]
    peers.need((NORMFLOWS,))
    torch.set_num_threads(int(settings["threads"]))
    table = Table(
        f"Quality after {settings['minutes']} minutes: cats of {settings['size']} x "
        f"{settings['size']}",
        "Bits per dim of all images of the test set, in fp32; uniform noise is the mean over "
        f"{DRAWS} draws.",
        ["", "bin centres", "uniform noise", "steps", "parameters"],
    )
    with tempfile.TemporaryDirectory() as folder:
        app, taken = train_ours(root, Path(folder) / "run", settings, extra)
    data = build({**app.config["data"], "batch_size": BATCH}, "data")
    data.prepare_data()
    other, others = train_normflows(data, float(settings["minutes"]), int(settings["seed"]))
    images = data.sets()["test"].parts["x"]
    for name, flow, log_prob, steps in (
        ("innflow", app.flow, density_of_ours(app.flow), taken),
        (NORMFLOWS, other, density_of_normflows(other), others),
    ):
        flow.eval()
        bits = evaluate(log_prob, images)
        count = sum(weight.numel() for weight in flow.parameters())
        table.rows.append([name, *(f"{value:.3f}" for value in bits.values()), steps, count])
    print(table.markdown())
    machine = describe(int(settings["threads"]), ("innflow", NORMFLOWS))
    out = Path(settings.pop("out")) / "quality"
    shown = settings | dict(word.partition("=")[::2] for word in extra)
    about = "Both models are trained one after the other, for the same time."
    write(out, "Bits per dim after equal time", about, machine, shown, [table])


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InnflowError as error:
        sys.exit(f"quality: error: {error}")
