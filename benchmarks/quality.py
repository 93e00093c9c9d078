"""Bits per dim after equal time, and the time to a given quality, of the Glow of each library.

    python -m benchmarks.quality [data=FOLDER] [settings=equal,own] [only=innflow,...] [seeds=0,1,2]
        [minutes=15] [clock=wall] [size=32] [every=100] [target=4.28] [threads=1] [device=cpu]
        [quick=false] [out=benchmarks/quality]

FOLDER holds train/cat/... and val/cat/...; without it cats are drawn. Contenders: innflow,
innflow bf16, nflows, normflows, FrEIA AllInOne, and each of them with bf16. One loop trains them
all, on the same batches with the same flips and the same noise for a given seed. Each run keeps the
weights with the best bound on the validation set, which is measured every `every` steps; this time
counts. Every finished run is stored at once in quality.json; runs that are there already are
skipped, so the command can be stopped and repeated, in any order. quality.md is made from all runs
of the same minutes, size, data and machine. `clock=cpu` gives each run the same processor time
instead, for a machine on which other programs run; it needs threads=1. `quick=true` trains tiny
flows.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import innflow.data
from benchmarks import glows, peers
from benchmarks.glows import Glow, Sizes
from benchmarks.measure import count
from benchmarks.quality_page import page
from benchmarks.quality_settings import Settings, settings_of
from benchmarks.table import describe, to_json
from benchmarks.work import BF16, FREIA_ALL, NFLOWS, NORMFLOWS, OURS, split
from innflow.app.schedule import cosine
from innflow.data.base import PartsDataModule
from innflow.errors import InnflowError
from innflow.system.allocator import keep_freed_memory
from innflow.system.file.atomic import writing

DEFAULTS = {
    "data": "",
    "settings": "equal,own",
    "only": "",
    "seeds": "0,1,2",
    "minutes": "15",
    "clock": "wall",
    "size": "32",
    "every": "100",
    "target": "4.28",
    "threads": "1",
    "device": "cpu",
    "quick": "false",
    "out": "benchmarks/quality",
}
CONTENDERS = {
    "equal": (OURS, f"{OURS} bf16", NFLOWS, NORMFLOWS, FREIA_ALL),
    "own": (OURS, NFLOWS, NORMFLOWS, FREIA_ALL),
}
DRAWS = 8
BATCH = 64
LEVELS = 256
SAME = ("settings", "contender", "seed", "minutes", "clock", "size", "data", "every", "machine")
"""What identifies a run."""


class Batches:
    """An endless stream of flipped and dequantized batches, the same for all contenders of a seed.

    Args:
        images: (N, C, H, W), uint8.
        settings: Batch size, and whether to flip.
        seed: Of the order, the flips and the noise.
    """

    def __init__(self, images: Tensor, settings: Settings, seed: int) -> None:
        self.images, self.settings = images, settings
        self.source = torch.Generator().manual_seed(seed)
        self.order = torch.empty(0, dtype=torch.long)

    def __next__(self) -> Tensor:
        """Return pixels (B, C, H, W) in [-1/2, 1/2)."""
        size = min(self.settings.batch, len(self.images))
        if len(self.order) < size:  # the rest of an epoch is dropped
            self.order = torch.randperm(len(self.images), generator=self.source)
        rows, self.order = self.order[:size], self.order[size:]
        x = self.images[rows]
        if self.settings.flip:
            mirrored = torch.rand((size, 1, 1, 1), generator=self.source) < 0.5
            x = torch.where(mirrored, x.flip(-1), x)
        return (x + torch.rand(x.shape, generator=self.source)) / LEVELS - 0.5


@torch.no_grad()
def bits_per_dim(log_density: nn.Module, images: Tensor, draws: int, device: str = "cpu") -> float:
    """Return bits per dim of 8-bit images, the mean over seeded draws of uniform noise: a bound.

    Args:
        log_density: Maps pixels (B, C, H, W) in [-1/2, 1/2) to log densities (B,) in nats.
        images: (N, C, H, W), uint8.
        draws: Number of draws; 0 evaluates at the centres of the bins, which is no bound.
        device: Of the log density.
    """
    source = torch.Generator().manual_seed(0)
    total = 0.0
    for _ in range(max(draws, 1)):
        for some in images.split(BATCH):
            noise = torch.rand(some.shape, generator=source) if draws else 0.5
            x = (some + noise) / LEVELS - 0.5
            total += float(log_density(x.to(device)).double().sum())
    dims = images[0].numel()
    nats = -total / (max(draws, 1) * len(images)) + dims * math.log(LEVELS)
    return nats / (dims * math.log(2))


def train(
    glow: Glow, data: dict[str, Tensor], settings: Settings, seed: int, options: dict[str, str]
) -> dict[str, Any]:
    """Train for a time and load the weights with the best validation bound.

    Returns:
        Steps, skipped batches, seconds of wall-clock and of processor time, and the log: seconds,
        step and validation bound of each evaluation. The last one is made after the time is over.
    """
    device, every, limit = options["device"], int(options["every"]), 60 * float(options["minutes"])
    batches = Batches(data["train"], settings, seed)
    dims = data["train"][0].numel()
    factor = cosine(settings.warmup, settings.final)
    log: list[tuple[float, int, float]] = []
    best: tuple[float, dict[str, Tensor]] = (math.inf, {})
    steps = skipped = 0
    now = time.process_time if options["clock"] == "cpu" else time.monotonic
    begun, begun_wall, begun_cpu = now(), time.monotonic(), time.process_time()
    glow.train().initialise(next(batches).to(device))
    optimizer = getattr(torch.optim, settings.optimizer)(glow.parameters(), **settings.options)
    while True:
        share = (now() - begun) / limit
        if share >= 1 or (steps and steps % every == 0):
            bound = bits_per_dim(glow.eval(), data["val"], 1, device)
            log.append((round(now() - begun, 2), steps, round(bound, 5)))
            if bound < best[0]:
                best = bound, {key: value.clone() for key, value in glow.state_dict().items()}
            glow.train()
        if share >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = settings.options["lr"] * factor(share)
        optimizer.zero_grad()
        loss = -glow(next(batches).to(device)).mean() / dims
        steps += 1
        if not loss.isfinite():  # as in the example of normflows
            skipped += 1
            continue
        loss.backward()
        if settings.clip:
            nn.utils.clip_grad_norm_(glow.parameters(), settings.clip)
        optimizer.step()
    if not best[1]:
        raise InnflowError(f"quality: no finite validation bound in {steps} steps")
    glow.load_state_dict(best[1])
    glow.eval()
    seconds, used = time.monotonic() - begun_wall, time.process_time() - begun_cpu
    taken = {"steps": steps, "skipped": skipped, "seconds": round(seconds, 1)}
    return taken | {"cpu_seconds": round(used, 1), "log": log}


def load(options: dict[str, str]) -> dict[str, Tensor]:
    """Return the images (N, 3, H, W), uint8, of the training, validation and test set.

    The split is the same for all seeds.
    """
    size = int(options["size"])
    data: PartsDataModule = innflow.data.cats(options["data"] or None, size=size, seed=0)
    data.prepare_data()
    return {name: data.sets()[name].parts["x"] for name in ("train", "val", "test")}


def run(name: str, kind: str, seed: int, data: dict[str, Tensor], options: dict[str, str]) -> Any:
    """Train and evaluate one contender and return the numbers."""
    settings = settings_of(kind, name)
    if options["quick"] == "true":
        settings = replace(settings, depth=(1, 1), hidden=(4, 4))
    settings = replace(settings, bf16=settings.bf16 or BF16 in split(name)[1])
    channels, height, width = data["train"].shape[1:]
    shape, haar, last = (channels, height, width), settings.haar, settings.channels_last
    torch.manual_seed(seed)
    glow = glows.build(
        name, Sizes(shape, settings.depth, settings.hidden, settings.bf16, haar, last)
    ).to(options["device"])
    result = train(glow, data, settings, seed, options)
    return {
        "parameters": count(glow),
        "test_bpd": round(bits_per_dim(glow, data["test"], DRAWS, options["device"]), 5),
        "test_bpd_centre": round(bits_per_dim(glow, data["test"], 0, options["device"]), 5),
        "val_bpd": min(bound for *_, bound in result["log"]),
        "configuration": asdict(settings),
        **result,
    }


def main(words: Sequence[str]) -> None:
    """Run what is not there yet, and write the runs and the page after each of them."""
    given = dict(word.partition("=")[::2] for word in words)
    unknown = sorted(set(given) - set(DEFAULTS))
    if unknown:
        raise InnflowError(f"quality: {unknown[0]} is unknown: takes {', '.join(DEFAULTS)}")
    options = DEFAULTS | given
    chosen = options["only"].split(",") if options["only"] else []
    for kind in options["settings"].split(","):
        if kind not in CONTENDERS:
            raise InnflowError(f"quality: settings={kind}: takes {', '.join(CONTENDERS)}")
    for name in chosen:
        if name.removesuffix(" bf16") not in glows.BUILD:
            raise InnflowError(f"quality: only={name}: takes {', '.join(glows.BUILD)}")
    if options["clock"] not in ("wall", "cpu"):
        raise InnflowError(f"quality: clock={options['clock']}: takes wall or cpu")
    if options["clock"] == "cpu" and options["threads"] != "1":
        raise InnflowError("quality: clock=cpu adds up the time of all threads: use threads=1")
    peers.need(chosen or [NFLOWS, NORMFLOWS, FREIA_ALL])
    torch.set_num_threads(int(options["threads"]))
    keep_freed_memory()
    packages = ("innflow", "nflows", "normflows", "FrEIA")
    machine = describe(int(options["threads"]), packages, options["device"])
    out = Path(options["out"])
    out.parent.mkdir(parents=True, exist_ok=True)
    data: dict[str, Tensor] = {}
    for seed in map(int, options["seeds"].split(",")):
        for kind in options["settings"].split(","):
            for name in chosen or CONTENDERS[kind]:
                key: dict[str, Any] = {
                    **{"settings": kind, "contender": name, "seed": seed, "machine": machine},
                    **{"minutes": float(options["minutes"]), "size": int(options["size"])},
                    "data": Path(options["data"]).name or "drawn cats",
                    "every": int(options["every"]),
                    "clock": options["clock"],
                }
                if any(all(old[part] == key[part] for part in SAME) for old in stored(out)):
                    print(f"{name}, {kind} settings, seed {seed}: done", flush=True)
                    continue
                data = data or load(options)
                sets = {f"{part}_images": len(images) for part, images in data.items()}
                result = key | sets | run(name, kind, seed, data, options)
                runs = [*stored(out), result]  # read again: another process may have added one
                write(out, runs, float(options["target"]))
                print(
                    f"{name}, {kind} settings, seed {seed}: {result['test_bpd']:.3f} bits per dim, "
                    f"{result['steps']} steps, {result['skipped']} skipped",
                    flush=True,
                )
    if stored(out):
        write(out, stored(out), float(options["target"]))


def stored(out: Path) -> list[dict[str, Any]]:
    """Return the runs that are stored."""
    file = out.with_suffix(".json")
    return json.loads(file.read_text())["runs"] if file.exists() else []


def write(out: Path, runs: list[dict[str, Any]], target: float) -> None:
    """Write all runs, and the page about them."""
    with writing(out.with_suffix(".json"), "w") as file:
        file.write(to_json({"runs": runs}))
    with writing(out.with_suffix(".md"), "w") as file:
        file.write(page(runs, target))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InnflowError as error:
        sys.exit(f"quality: error: {error}")
