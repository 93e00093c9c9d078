"""Sets of named parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import Dataset

Role = Literal["train", "val", "inlier", "outlier"]
Batch = dict[str, Tensor]
GENERAL = "general"
"""Part of training batches, beside x: items of a general set, as many, at random."""


class PartsSet(Dataset[Batch]):
    """A whole set as arrays keyed by part names, read a batch at a time.

    Args:
        name: "train", "val", "test", or the name of an outlier set.
        role: What the set may be used for.
        whole: Arrays of equal first axis, perhaps memory-mapped, perhaps shared with other sets.
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

    def __repr__(self) -> str:
        whole = self._whole.items()
        shapes = ", ".join(f"{key} {tuple(part.shape[1:])} {part.dtype}" for key, part in whole)
        return f"PartsSet({self.name}, {self.role}, {len(self):,} items: {shapes})"
