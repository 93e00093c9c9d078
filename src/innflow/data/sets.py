"""Sets of named parts, and how train, val and test arise from a source of items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

from innflow.errors import InnflowError

CALIBRATING = 199
"""Number of test inliers that allow p-values of 0.005."""
Role = Literal["train", "val", "inlier", "outlier"]
Batch = dict[str, Tensor]


class PartsSet(Dataset[Batch]):
    """A whole set as arrays keyed by part names, read a batch at a time.

    Args:
        name: "train", "val", "test", or the name of an outlier set.
        role: What the set may be used for.
        whole: Arrays of equal first axis, possibly memory-mapped, possibly shared with other sets.
        names: One name per item of this set.
        rows: The items of `whole` that belong to this set; all of them by default.
    """

    def __init__(
        self,
        name: str,
        role: Role,
        whole: Mapping[str, Tensor],
        names: Sequence[str],
        rows: Tensor | None = None,
    ) -> None:
        self.name = name
        self.role: Role = role
        self.names = names
        self._whole = dict(whole)
        self._rows = rows
        lengths = {len(part) for part in whole.values()} if rows is None else {len(rows)}
        if lengths != {len(names)}:
            raise ValueError(f"set {name}: {len(names)} names for parts of length {lengths}")

    @classmethod
    def numbered(cls, name: str, role: Role, parts: Mapping[str, Tensor]) -> PartsSet:
        """Return a set of items with the names name/0, name/1, ..."""
        count = len(next(iter(parts.values())))
        return cls(name, role, parts, [f"{name}/{i}" for i in range(count)])

    @cached_property
    def parts(self) -> Batch:
        """The arrays of this set, first axis N; gathered once if the set is a part of a whole."""
        if self._rows is None:
            return self._whole
        return {key: part[self._rows] for key, part in self._whole.items()}

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Batch:
        row = index if self._rows is None else self._rows[index]
        return {key: part[row] for key, part in self._whole.items()}

    def __getitems__(self, indices: Sequence[int] | Tensor) -> Batch:
        """Return a batch of items, (B, ...) each, by one gather."""
        rows = torch.as_tensor(indices)
        if self._rows is not None:
            rows = self._rows[rows]
        return {key: part[rows] for key, part in self._whole.items()}

    def select(self, name: str, role: Role, rows: Tensor | None = None) -> PartsSet:
        """Return a set of the items at these positions (B,), of all by default."""
        if rows is None:
            return PartsSet(name, role, self._whole, self.names, self._rows)
        names = [self.names[i] for i in rows.tolist()]
        rows = rows if self._rows is None else self._rows[rows]
        return PartsSet(name, role, self._whole, names, rows)

    def __repr__(self) -> str:
        whole = self._whole.items()
        shapes = ", ".join(f"{key} {tuple(part.shape[1:])} {part.dtype}" for key, part in whole)
        return f"PartsSet({self.name}, {self.role}, {len(self):,} items: {shapes})"


def make_sets(
    items: PartsSet,
    test: PartsSet | Tensor | float,
    val: PartsSet | Tensor | float,
    seed: int,
    of: str,
    rows: Tensor | None = None,
    classes: Sequence[str] = (),
) -> dict[str, PartsSet]:
    """Return the sets "train", "val" and "test", disjoint.

    The test set is either given or held out of the training items; then the validation set is
    either given or held out of the remaining training items, by the same seed.

    Args:
        items: All items; `rows`, `test` and `val` may index into them.
        test: Other items, rows of `items`, or the fraction of `rows` to hold out.
        val: Likewise, of the training items that then remain.
        seed: Of both choices.
        of: What the items are, for the error where there are too few of them.
        rows: The training items among `items`, before anything is held out; all by default.
        classes: Names of the labels; the same fraction of every class is then held out.
    """
    train = torch.arange(len(items)) if rows is None else rows
    labels = items.parts["label"] if classes else None
    if isinstance(test, float):
        train, test = hold_out(train, test, seed, of, labels, classes)
    if isinstance(val, float):
        train, val = hold_out(train, val, seed, of, labels, classes)

    def select(name: str, role: Role, chosen: PartsSet | Tensor) -> PartsSet:
        if isinstance(chosen, PartsSet):
            return chosen.select(name, role)
        return items.select(name, role, chosen)

    return {
        "train": select("train", "train", train),
        "val": select("val", "val", val),
        "test": select("test", "inlier", test),
    }


def share_of_test(count: int) -> float:
    """Return the fraction of the items that becomes the test set, where none is given.

    It is 10%, and more of a small set: the test inliers calibrate p-values, of which n allow none
    below 1 / (n + 1). `CALIBRATING` items are held out, but at most a third.

    >>> share_of_test(10_000), round(share_of_test(1000), 3), round(share_of_test(500), 3)
    (0.1, 0.199, 0.333)
    """
    return max(0.1, min(CALIBRATING / max(count, 1), 1 / 3))


def hold_out(
    rows: Tensor,
    fraction: float,
    seed: int,
    of: str,
    labels: Tensor | None = None,
    classes: Sequence[str] = (),
) -> tuple[Tensor, Tensor]:
    """Return the sorted rows to keep and to hold out of sorted rows (R,), at least one of each.

    With labels, the class of every item as an index into `classes`, the same fraction of every
    class is held out. `of` names the items in the error where there are fewer than two.
    """
    if labels is None:
        count = len(rows)
        if count < 2:
            raise InnflowError(f"{of}: {count} usable, at least 2 are needed to hold one out")
        held = min(max(round(fraction * count), 1), count - 1)
        order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
        return rows[order[held:].sort().values], rows[order[:held].sort().values]
    splits = [
        hold_out(rows[labels[rows] == label], fraction, seed, f"{of} of class {name}")
        for label, name in enumerate(classes)
    ]
    kept, out = (torch.cat(side).sort().values for side in zip(*splits, strict=True))
    return kept, out
