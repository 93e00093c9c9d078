"""Files of innflow-score maps=DIR: each picture next to its anomaly map."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from torch import Tensor

from innflow.app import Unconditional
from innflow.command.arguments import BATCH
from innflow.errors import InnflowError
from innflow.figure.ood.heat_overlay import UNIT, choose_limits, plot_anomaly_maps
from innflow.figure.style import to_png
from innflow.run.folder import claim
from innflow.system.progress import track

SIDE = 288
"""Approximate size of a picture in a file, in pixels."""


def check_maps(app: Unconditional) -> None:
    """Raise if the model has no anomaly maps."""
    if reason := app.why_no_map():
        raise InnflowError(f"maps: {reason}")


def write_maps(
    app: Unconditional,
    items: Tensor,
    pictures: Tensor,
    names: Sequence[str],
    notes: Sequence[str],
    folder: Path,
) -> None:
    """Write a PNG for each item: the picture, and its map over it, on one colour scale for all.

    Args:
        app: the model.
        items: (N, C, H, W) data of the model.
        pictures: (N, 1 or 3, S, S) uint8, from which the items come.
        names: of the files; a name `a/b.jpg` becomes `a/b.jpg.png`.
        notes: text to the left of each picture.
        folder: new or empty.
    """
    batches = track(items.split(BATCH), "maps")
    maps = np.concatenate([app.anomaly_map(batch).cpu().numpy() for batch in batches])
    limits = choose_limits(maps, [maps])
    with claim(folder, key="maps"):
        for at in track(range(len(names)), "write"):
            one = slice(at, at + 1)
            picture, label = pictures[one].numpy(), notes[at]
            figure = plot_anomaly_maps([picture], [maps[one]], [label], limits, UNIT, SIDE)
            place = [part for part in PurePosixPath(names[at]).parts if part not in ("/", "..")]
            path = folder.joinpath(*place).with_name(f"{place[-1]}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(to_png(figure))
