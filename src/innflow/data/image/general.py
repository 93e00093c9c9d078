"""A general set beside the training inliers: what they are to be told from.

Losses that are given more general data (outlier exposure, margins, negative training) and
likelihood ratios are only honest where these data hold nothing of what is tested on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from torch.utils.data import Dataset

from innflow.data.sets import GENERAL, Batch, PartsSet
from innflow.errors import InnflowError


class Beside(Dataset[Batch]):
    """Batches of inliers with items of a general set beside them, one for each.

    Args:
        inliers: the training set, which gives the length.
        general: items for the part "general".
    """

    def __init__(self, inliers: PartsSet, general: PartsSet) -> None:
        self.inliers, self.general = inliers, general

    def __len__(self) -> int:
        return len(self.inliers)

    def __getitem__(self, index: tuple[int, int]) -> Batch:
        return {key: part[0] for key, part in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[tuple[int, int]]) -> Batch:
        """Return the items of pairs: a row of the inliers, and one of the general set."""
        rows, others = zip(*indices, strict=True)
        return {
            **self.inliers.__getitems__(rows),
            GENERAL: self.general.__getitems__(others)["x"],
        }


def check_disjoint(general: PartsSet, sets: Mapping[str, PartsSet], where: str) -> None:
    """Refuse a general set that shares items, equal in every value, with a set that is tested on.

    Args:
        general: the set in question.
        sets: all sets by name; those of the roles train and val are not tested on.
        where: the general set comes from, for the error.

    Raises:
        InnflowError: with the number of shared items of each set.
    """
    known = set(_digests(general))
    shared = {
        name: sum(digest in known for digest in _digests(items))
        for name, items in sets.items()
        if items.role in ("inlier", "outlier")
    }
    found = ", ".join(f"{count} of {name}" for name, count in shared.items() if count)
    if found:
        raise InnflowError(
            f"data.general={where}: holds items of the test sets too ({found}): training on them "
            "would tell the scores what they are tested with; remove them"
        )


def _digests(items: PartsSet) -> list[bytes]:
    x = items.parts["x"]
    return [hashlib.blake2b(row.numpy().tobytes(), digest_size=16).digest() for row in x]
