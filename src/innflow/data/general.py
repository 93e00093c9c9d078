"""A general set of items next to the training items, for losses that contrast the two.

Losses on more general data (outlier exposure, margins, negative training) and likelihood ratios
are only sound where these data share no item with the test sets.
"""

import hashlib
from collections.abc import Mapping, Sequence

from torch.utils.data import Dataset

from innflow.data.sets import Batch, PartsSet
from innflow.errors import InnflowError
from innflow.system.batch import GENERAL


class PairedWithGeneral(Dataset[Batch]):
    """Training items, each with the x of an item of a general set as the part "general"."""

    def __init__(self, inliers: PartsSet, general: PartsSet) -> None:
        self.inliers, self.general = inliers, general

    def __len__(self) -> int:
        return len(self.inliers)

    def __getitem__(self, index: tuple[int, int]) -> Batch:
        return {key: part[0] for key, part in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[tuple[int, int]]) -> Batch:
        """Return the items of pairs: a row of the inliers, and one of the general set."""
        rows, others = zip(*indices, strict=True)
        return {**self.inliers.__getitems__(rows), GENERAL: self.general.__getitems__(others)["x"]}


def check_disjoint(general: PartsSet, sets: Mapping[str, PartsSet]) -> None:
    """Raise an error if a general set shares items, equal in every value, with a test set."""
    digests = set(_digests(general))
    shared = {
        name: sum(digest in digests for digest in _digests(items))
        for name, items in sets.items()
        if items.role in ("inlier", "outlier")
    }
    found = ", ".join(f"{count} of {name}" for name, count in shared.items() if count)
    if found:
        raise InnflowError(
            f"data.general={general.name}: shares items with the test sets ({found}), so scores "
            "would be tested on items that were trained on: remove them"
        )


def _digests(items: PartsSet) -> list[bytes]:
    x = items.parts["x"]
    return [hashlib.blake2b(row.numpy().tobytes(), digest_size=16).digest() for row in x]
