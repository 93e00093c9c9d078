"""A table of the strangest and the least strange items, with thumbnails and anomaly maps."""

import base64
import io
from collections.abc import Mapping

import numpy as np
from PIL import Image

from innflow.analysis.examples import MOST_SETS
from innflow.analysis.findings import Table
from innflow.analysis.study import Study, in_batches
from innflow.data.feature.embeddings import Embeddings
from innflow.figure.ood.heat_overlay import choose_limits, overlay

SHOWN = 10
"""Items at each end of a set."""
SIDE = 64
"""Largest side of a thumbnail in pixels."""


def list_extremes(study: Study, columns: Mapping[str, Mapping[str, np.ndarray]]) -> Table:
    """Return the items of highest and of lowest headline score of test and of outlier sets.

    Args:
        study: of the scored sets.
        columns: set -> the columns of scores.csv of its items.
    """
    chosen: dict[str, np.ndarray] = {}
    for name in ("test", *study.outliers[:MOST_SETS]):
        order = np.argsort(-columns[name]["score"], kind="stable")
        chosen[name] = order if len(order) <= 2 * SHOWN else np.r_[order[:SHOWN], order[-SHOWN:]]
    pictures = {name: pictures_of(study, name, index) for name, index in chosen.items()}
    shown = [picture for picture in pictures.values() if picture is not None]
    maps: dict[str, np.ndarray] = {}
    if shown and not study.density.why_no_map():
        for name, index in chosen.items():
            x = study.measure(name).data[index]
            maps[name] = in_batches(study.density.anomaly_map, x, f"maps of {name}")
        limits = choose_limits(maps["test"], list(maps.values()))
    rows = []
    for name, index in chosen.items():
        names, scores, p = study.names(name), columns[name]["score"], columns[name]["p_value"]
        for at, item in enumerate(index):
            images = []
            picture = pictures[name]
            if picture is not None:
                images.append(to_cell(picture[at]))
            if picture is not None and name in maps:
                colored = picture[at].repeat(4 - len(picture[at]), axis=0)[:3]
                images.append(to_cell(overlay(colored, maps[name][at], limits)))
            rows.append([*images, name, names[item], f"{scores[item]:.5g}", f"{p[item]:.3g}"])
    headings = ["picture", "map"][: 1 + bool(maps)] if shown else []
    title = f"The {SHOWN} strangest and the {SHOWN} least strange items of each set"
    return Table(title, [*headings, "set", "item", "score", "p-value"], rows)


def pictures_of(study: Study, name: str, index: np.ndarray) -> np.ndarray | None:
    """Return the pictures (N, C, H, W) uint8 of measured items of a set; None for vectors."""
    if isinstance(study.data, Embeddings):
        return study.data.picture(name, study.index(name)[index])
    return study.picture(study.measure(name).data[index]) if study.is_image else None


def to_cell(picture: np.ndarray) -> str:
    """Return a picture (C, H, W) uint8 as a cell of a table: a PNG of at most `SIDE` pixels."""
    image = Image.fromarray(picture.transpose(1, 2, 0).squeeze())
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
