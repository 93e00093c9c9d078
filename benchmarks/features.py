"""Images per second of feature extraction, for each optimisation added to a naive loop.

    python benchmarks/features.py ROOT [size=128] [network=NAME] [images=512] [rounds=3]

All variants are timed in turn in every round, so that other load on the machine affects all of
them. The markdown table has the fastest round of each and its largest difference to the naive loop.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from innflow.data.feature.backbone import Backbone, fold_batch_norm
from innflow.data.feature.network import LITE0, Pretrained, open_network
from innflow.data.image.storage import read_images

BATCH = 32


def loop(network: Pretrained, images: Tensor, batch: int, memory: torch.memory_format) -> Tensor:
    """Return the features of images (N, C, H, W), one batch after the other on all threads."""
    mean, std = network.mean[:, None, None], network.std[:, None, None]
    rows = []
    for some in images.split(batch):
        pixels = ((some.float() - mean) / std).contiguous(memory_format=memory)
        rows.append(network.module(pixels))
    return torch.cat(rows)


def opened(name: str, size: int, fold: bool, memory: torch.memory_format) -> Pretrained:
    """Return a network with its weights."""
    network = open_network(name, size)
    network.load(None)
    if fold:
        fold_batch_norm(network.module)
    network.module.to(memory_format=memory)
    return network


def library(name: str, size: int) -> Pretrained:
    """Return a network as its library builds it, which may pad by copying."""
    network = opened(name, size, False, torch.contiguous_format)
    if name == LITE0:
        from efficientnet_lite_pytorch import EfficientNet

        plain = EfficientNet.from_name("efficientnet-lite0", image_size=size).eval()
        plain._fc = nn.Identity()
        plain.load_state_dict(network.module.state_dict())
        network = Pretrained(name, plain, network.mean, network.std, network.head, network.fetch)
    return network


def ways(name: str, size: int) -> dict[str, Callable[[Tensor], Tensor]]:
    """Return the variants to compare, each with the optimisations of those before it."""
    plain, last = torch.contiguous_format, torch.channels_last
    naive, padded = library(name, size), opened(name, size, False, plain)
    folded, laid = opened(name, size, True, plain), opened(name, size, True, last)
    ours = Backbone(name, size)

    return {
        "naive loop": lambda images: loop(naive, images, BATCH, plain),
        "+ padding in the convolutions": lambda images: loop(padded, images, BATCH, plain),
        "+ batch normalisation folded": lambda images: loop(folded, images, BATCH, plain),
        "+ channels last": lambda images: loop(laid, images, BATCH, last),
        "+ a batch of 16 a thread (innflow)": ours,
    }


def main() -> None:
    """Measure and print the table."""
    root, settings = sys.argv[1], dict(word.split("=", 1) for word in sys.argv[2:])
    size, name = int(settings.get("size", 128)), settings.get("network", LITE0)
    count, rounds = int(settings.get("images", 512)), int(settings.get("rounds", 3))
    images = read_images(Path(root), size, 3)[0][:count]
    compared = ways(name, size)
    times: dict[str, list[float]] = {way: [] for way in compared}
    worst: dict[str, float] = {}
    with torch.inference_mode():
        for turn in range(rounds + 1):
            reference = None
            for way, function in compared.items():
                start = time.perf_counter()
                features = function(images[:BATCH] if turn == 0 else images)
                seconds = time.perf_counter() - start
                reference = features if reference is None else reference
                worst[way] = float((features - reference).abs().max())
                if turn:  # the first turn is a warm-up
                    times[way].append(seconds)
    first = min(next(iter(times.values())))
    print(
        f"{name}, {len(images)} images of {size} x {size}, {torch.get_num_threads()} threads, "
        f"{platform.machine()}, torch {torch.__version__}, fastest of {rounds}\n"
    )
    print("| step | images/s | times the first | largest difference |")
    print("|---|---|---|---|")
    for way, seconds_of in times.items():
        best = min(seconds_of)
        cells = f"{len(images) / best:.0f} | {first / best:.2f} | {worst[way]:.1e}"
        print(f"| {way} | {cells} |")


if __name__ == "__main__":
    main()
