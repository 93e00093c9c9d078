"""A general set of items next to the training items, for losses that contrast the two."""

from collections.abc import Sequence

from torch.utils.data import Dataset

from innflow.data.sets import Batch, PartsSet
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
