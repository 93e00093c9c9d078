"""innflow-sample: draw images or vectors from a trained run."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.utils import make_grid

from innflow.app import Generation
from innflow.command.arguments import BATCH, check_arguments, load_unconditional, output_folder
from innflow.run.folder import claim
from innflow.system.memory import require_memory
from innflow.system.progress import announce, track


def sample(arguments: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Draw from a trained run into a folder."""
    check_arguments(arguments, overrides)
    n, temperature, seed = arguments["n"], arguments["temperature"], arguments["seed"] or 0
    app = load_unconditional(arguments)
    require_memory(f"n={n}", 4 * n * app.dims)
    starts = track(range(0, n, BATCH), "sample")
    options = {"exact": arguments["exact"]} if isinstance(app, Generation) else {}
    drawn = torch.cat(
        [app.sample(min(BATCH, n - s), temperature, seed + s, **options).cpu() for s in starts]
    )
    out = output_folder(arguments, "samples")
    with claim(out, key="out"):
        (_write_images if drawn.dtype == torch.uint8 else _write_vectors)(drawn, out)
    announce(str(out))


def _write_images(images: Tensor, out: Path) -> None:
    digits = len(str(len(images) - 1))
    for number, image in enumerate(images):
        _write_png(image, out / f"{number:0{digits}}.png")
    shown = images[:256]
    _write_png(make_grid(shown, nrow=math.ceil(math.sqrt(len(shown)))), out / "grid.png")


def _write_png(image: Tensor, path: Path) -> None:
    Image.fromarray(image.permute(1, 2, 0).squeeze(-1).numpy()).save(path)


def _write_vectors(vectors: Tensor, out: Path) -> None:
    np.savez(out / "samples.npz", x=vectors.numpy())
    rows = vectors.flatten(1)
    with (out / "samples.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([f"x{i}" for i in range(rows.shape[1])])
        writer.writerows(rows.tolist())
