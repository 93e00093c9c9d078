"""Images that several figures show: some of the test set and of each outlier set."""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from innflow.analysis.study import Study, require_whole
from innflow.app.application import Unconditional

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


def choose_evenly(items: Sequence[T], most: int) -> list[T]:
    """Return at most `most` items at even distances, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    places = np.rint(np.linspace(0, len(items) - 1, most)).astype(int)
    return [items[place] for place in places]


def check_couplings(study: Study, analysis: str, shown: int, items: int) -> None:
    """Refuse settings out of range, data that are not images, and a conditional application."""
    require_whole(f"{analysis}.shown", shown, 1)
    require_whole(f"{analysis}.items", items, 1)
    study.require_images(analysis)
    study.require(Unconditional, analysis, "has no density of x alone: choose app=density")
