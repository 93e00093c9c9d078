"""Scikit-learn's handwritten digits, which come with it: no download, no cache."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import pad

from innflow.data.base import PartsDataModule, PartsSet, check_whole, split_stratified
from innflow.data.sets import Role
from innflow.system.ranks import randint

_TEST_SHARE = 1 / 3
_TEST_SEED = 0


class Digits(PartsDataModule):
    """Handwritten digits of 8x8 pixels and 17 grey levels, 0 (paper) to 16 (ink), and their class.

    A third of the 1,797 digits, the same share of each class and the same items for every seed, is
    the set "test". The outliers are made of it: "inverted" swaps ink and paper, "scrambled" moves
    all pixels by one fixed permutation, so that each pixel keeps a grey level that digits have.

    Args:
        batch_size: Over all ranks together.
        holdout: Fraction of the training digits that becomes the set "val".
        shift: In training, each digit moves by at most so many pixels, up or down and sideways;
            paper comes in from outside.
        workers: Processes that read ahead.
        seed: Of the split into train and val.
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
        """Return digits x (B, 1, 8, 8), each moved by its own random number of pixels."""
        return shift_images(x, self.shift) if self.shift else x

    def load_sets(self) -> dict[str, PartsSet]:
        """Return the digits in three disjoint sets, and the outliers made of the last."""
        bundled = load_digits()
        x = torch.from_numpy(bundled.images.astype(np.uint8))[:, None]
        labels = torch.from_numpy(bundled.target.astype(np.int64))
        rest, test = split_stratified(labels, self.classes, _TEST_SHARE, _TEST_SEED, "digits")
        kept, held = split_stratified(
            labels[rest], self.classes, self.holdout, self.seed, "training digits"
        )
        rows: list[tuple[str, Role, Tensor]] = [
            ("train", "train", rest[kept]),
            ("val", "val", rest[held]),
            ("test", "inlier", test),
        ]
        names = [f"digit/{i}" for i in range(len(x))]
        sets = {
            name: PartsSet(
                name, role, {"x": x, "label": labels}, [names[i] for i in index.tolist()], index
            )
            for name, role, index in rows
        }
        order = torch.randperm(64, generator=torch.Generator().manual_seed(_TEST_SEED))
        strange = {
            "inverted": self.levels - 1 - x[test],
            "scrambled": x[test].flatten(1)[:, order].view_as(x[test]),
        }
        for name, images in strange.items():
            origin = [f"{name}/{i}" for i in test.tolist()]
            sets[name] = PartsSet(name, "outlier", {"x": images}, origin)
        return sets


def shift_images(x: Tensor, most: int) -> Tensor:
    """Return images (B, C, H, W), each moved by up to `most` pixels each way, zeros coming in."""
    count, _, height, width = x.shape
    down, right = randint(2 * most + 1, (2, count, 1), batch_axis=1, device=x.device)
    rows = down + torch.arange(height, device=x.device)
    columns = right + torch.arange(width, device=x.device)
    item = torch.arange(count, device=x.device)
    # The channels, sliced between indices, land behind the gathered axes.
    moved = pad(x, [most] * 4)[item[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return moved.movedim(-1, 1)
