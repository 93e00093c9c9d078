"""Batches per second of augmentation: innflow on whole batches, torchvision image by image.

    python benchmarks/augment.py [batch=64] [size=64] [rounds=21]

Both mirror half of the images and zoom, shear and rotate each by its own random amount, with
bilinear interpolation: innflow on a uint8 tensor, torchvision on PIL images, as the workers of an
ordinary loader do, including the conversion to a batch. They are timed in turn in every round.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
import torchvision
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from innflow.data.image.augment import AMOUNTS, build_augment

NAMES = ("flip", "zoom", "shear", "rotate")


def smooth_images(count: int, size: int) -> Tensor:
    """Return random images uint8 (count, 3, size, size) without hard edges."""
    coarse = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    fine = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    return (255 * fine.clamp(0, 1)).to(torch.uint8)


def per_image() -> Callable[[Image.Image], Tensor]:
    """Return torchvision's transforms of one PIL image, with the same amounts."""
    zoom, shear = AMOUNTS["zoom"], AMOUNTS["shear"]
    return v2.Compose(
        [
            v2.RandomHorizontalFlip(AMOUNTS["flip"]),
            v2.RandomAffine(
                AMOUNTS["rotate"],
                scale=(1 - zoom, 1 + zoom),
                shear=(-shear, shear, -shear, shear),
                interpolation=v2.InterpolationMode.BILINEAR,
            ),
            v2.PILToTensor(),
        ]
    )


def seconds(function: Callable[[], Tensor], repeats: int) -> float:
    """Return the mean seconds of a call."""
    start = time.perf_counter()
    for _ in range(repeats):
        function()
    return (time.perf_counter() - start) / repeats


def measure(batch: int = 64, size: int = 64, rounds: int = 21) -> dict[str, list[float]]:
    """Return the batches per second of innflow and of torchvision in every round."""
    images = smooth_images(batch, size)
    pictures = [Image.fromarray(np.asarray(image.permute(1, 2, 0))) for image in images]
    ours, theirs = build_augment(NAMES), per_image()
    ways = {
        "whole batch, uint8 tensor (innflow)": lambda: ours(images),
        "image by image, PIL (torchvision)": lambda: torch.stack([theirs(p) for p in pictures]),
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(rounds + 1):
        for way, function in ways.items():
            rate = 1 / seconds(function, 5)
            if turn:  # the first turn is a warm-up
                rates[way].append(rate)
    return rates


def main() -> None:
    """Measure, print the table, and print the same numbers as JSON."""
    settings = {key: int(value) for key, value in (word.split("=", 1) for word in sys.argv[1:])}
    rates = measure(**settings)
    medians = {way: statistics.median(values) for way, values in rates.items()}
    ours, theirs = medians.values()
    about = {
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        **settings,
    }
    print(", ".join(f"{key} {value}" for key, value in about.items()), "\n")
    print("| way | batches/s, median | from | to | times torchvision |")
    print("|---|---|---|---|---|")
    for way, values in rates.items():
        cells = f"{medians[way]:.0f} | {min(values):.0f} | {max(values):.0f}"
        print(f"| {way} | {cells} | {medians[way] / theirs:.1f} |")
    print(json.dumps({"about": about, "batches_per_s": rates, "ratio": ours / theirs}))


if __name__ == "__main__":
    main()
