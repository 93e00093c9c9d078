"""Images for several figures: some of the test set and of each outlier set."""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from innflow.analysis.study import Study

T = TypeVar("T")
MOST_SETS = 5


class Examples(NamedTuple):
    """Images of several sets.

    Attributes:
        names: of the set of each image.
        images: (N, C, H, W) in data units.
        note: a sentence on the sets that are left out, or empty.
    """

    names: list[str]
    images: np.ndarray
    note: str


def choose_examples(study: Study, inliers: int = 1, outliers: int = 1) -> Examples:
    """Choose images of the test set and of the first five outlier sets at random.

    Args:
        study: of image data.
        inliers: number of test images.
        outliers: number of images of each outlier set.
    """
    sets = study.outliers[:MOST_SETS]
    note = ""
    if len(sets) < len(study.outliers):
        note = f" Of {len(study.outliers)} outlier sets the first {len(sets)} are shown."
    names: list[str] = []
    chosen = []
    for name, count in [("test", inliers), *((name, outliers) for name in sets)]:
        data = study.measure(name).data
        order = np.random.default_rng(study.seed).permutation(len(data))[:count]
        chosen.append(data[order])
        names += [name] * len(order)
    return Examples(names, np.concatenate(chosen), note)


def pick(study: Study, sets: Sequence[str], rows: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return the items (K, ...) at rows (K,) of the concatenated measured sets, and their sets."""
    data = [study.measure(name).data for name in sets]
    starts = np.cumsum([0, *map(len, data)])
    source = np.searchsorted(starts, rows, side="right") - 1
    items = [data[i][row - starts[i]] for i, row in zip(source, rows, strict=True)]
    return np.stack(items), [sets[int(i)] for i in source]


def choose_evenly(items: Sequence[T], most: int) -> list[T]:
    """Return at most `most` items at even distances, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    places = np.rint(np.linspace(0, len(items) - 1, most)).astype(int)
    return [items[place] for place in places]
