"""Handwritten digits that scikit-learn contains: no download, no cache."""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import pad

from innflow.data.base import PartsDataModule, check_whole
from innflow.data.sets import PartsSet, hold_out, make_sets
from innflow.system.ranks import randint

_TEST_SHARE = 1 / 3
_TEST_SEED = 0


class Digits(PartsDataModule):
    """Handwritten digits of 8x8 pixels and 17 grey levels, 0 (paper) to 16 (ink), with labels.

    A third of the 1,797 digits, the same fraction of each class and the same items for every seed,
    is the set "test". The outlier sets are computed from it: "inverted" swaps ink and paper,
    "scrambled" applies one fixed permutation to the pixels, which keeps the grey levels.

    >>> {name: len(items) for name, items in Digits().sets().items()}
    {'train': 1138, 'val': 60, 'test': 599, 'inverted': 599, 'scrambled': 599}

    Args:
        shift: Largest random translation of a training digit in pixels, along both axes; the
            border is filled with paper.
        batch_size, holdout, workers, seed: See `PartsDataModule`.
    """

    levels = 17

    def __init__(
        self,
        batch_size: int = 64,
        holdout: float = 0.05,
        shift: int = 1,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__((1, 8, 8), batch_size, holdout, workers, seed)
        self.shift = check_whole("shift", shift, 0)
        self._classes = [str(digit) for digit in range(10)]

    def augment(self, x: Tensor) -> Tensor:
        """Return digits x (B, 1, 8, 8), each translated at random."""
        return shift_images(x, self.shift) if self.shift else x

    def load_sets(self) -> dict[str, PartsSet]:
        """Return the digits in three disjoint sets, and the outliers computed from the test set."""
        bundled = load_digits()
        x = torch.from_numpy(bundled.images.astype(np.uint8))[:, None]
        labels = torch.from_numpy(bundled.target.astype(np.int64))
        digits = PartsSet.numbered("digit", "train", {"x": x, "label": labels})
        every = torch.arange(len(x))
        rest, test = hold_out(every, _TEST_SHARE, _TEST_SEED, "digits", labels, self.classes)
        of = "training digits"
        sets = make_sets(digits, test, self.holdout, self.seed, of, rest, self.classes)
        order = torch.randperm(64, generator=torch.Generator().manual_seed(_TEST_SEED))
        scrambled = x[test].flatten(1)[:, order].view_as(x[test])
        for name, images in ("inverted", self.levels - 1 - x[test]), ("scrambled", scrambled):
            origin = [f"{name}/{i}" for i in test.tolist()]
            sets[name] = PartsSet(name, "outlier", {"x": images}, origin)
        return sets


def shift_images(x: Tensor, most: int) -> Tensor:
    """Return images (B, C, H, W) translated by up to `most` pixels along each axis, zero-padded."""
    count, _, height, width = x.shape
    down, right = randint(2 * most + 1, (2, count, 1), batch_axis=1, device=x.device)
    rows = down + torch.arange(height, device=x.device)
    columns = right + torch.arange(width, device=x.device)
    item = torch.arange(count, device=x.device)
    # Advanced indexing around a slice puts the channels last.
    moved = pad(x, [most] * 4)[item[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return moved.movedim(-1, 1)
