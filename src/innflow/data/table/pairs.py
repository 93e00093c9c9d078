"""Pairs of parameters x and data y from the columns of a CSV, NPZ or Parquet file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from innflow.data.base import PartsSet, check_fraction, split_holdout
from innflow.data.sets import Role
from innflow.data.simulation.inverse_data import InverseData
from innflow.data.simulation.support import (Support, check_varied, given_support)
from innflow.data.table.table import (column_widths, read_table)
from innflow.errors import InnflowError


class Pairs(InverseData):
    """Simulated or measured pairs of x and y, one a row, of an inverse problem.

    Neither the prior nor the forward model behind them is known.

    Args:
        path: A .csv with a line of column names, a .npz with one array (N,) or (N, D) a name, or a
            .parquet file.
        x: Columns that hold the parameters, in this order.
        y: Columns that hold the data. An array (N, D) of an .npz gives D of them, named a0, a1 ...
        support: [low, high] of each parameter, null for an open end; any real number by default.
        batch_size: Over all ranks together.
        holdout: Fraction of the training rows that becomes the set "val".
        test: Fraction of all rows that becomes the set "test".
        workers: Processes that read ahead.
        seed: Of the splits.
    """

    prior = None

    def __init__(
        self,
        path: str | os.PathLike[str],
        x: str | list[str],
        y: str | list[str],
        support: list[list[float | None]] | None = None,
        batch_size: int = 128,
        holdout: float = 0.1,
        test: float = 0.1,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        self.path = Path(path).expanduser()
        self.test = check_fraction("test", test)
        widths = column_widths(self.path)
        self.chosen = {"x": _listed("x", x, widths), "y": _listed("y", y, widths)}
        both = [column for column in self.chosen["x"] if column in self.chosen["y"]]
        if both:
            raise InnflowError(f"data.x and data.y both have the column {both[0]}: it is either")
        self._columns = {part: _spread(names, widths) for part, names in self.chosen.items()}
        super().__init__((len(self._columns["x"]),), batch_size, holdout, workers, seed)
        if support is None:
            self.support = Support.real(*self.shape)
        else:
            self.support = given_support(support, *self.shape)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of both parts, known from the header."""
        return {part: (len(names),) for part, names in self._columns.items()}

    @property
    def columns(self) -> dict[str, list[str]]:
        """Names of the parameters x and of the data y."""
        return self._columns

    def load_sets(self) -> dict[str, PartsSet]:
        """Return the rows of the file in three disjoint sets.

        Raises:
            InnflowError: A value is missing; a parameter lies outside the support, or is the same
                in all rows.
        """
        whole = {part: read_table(self.path, names)[0] for part, names in self.chosen.items()}
        check_varied(whole["x"], self._columns["x"], f"all rows of {self.path}")
        self.support.check(whole["x"], self._columns["x"])
        count, of = len(whole["x"]), f"{self.path}, rows"
        rest, test = split_holdout(count, self.test, self.seed, of)
        kept, held = split_holdout(len(rest), self.holdout, self.seed, of)
        rows: list[tuple[str, Role, torch.Tensor]] = [
            ("train", "train", rest[kept]),
            ("val", "val", rest[held]),
            ("test", "inlier", test),
        ]
        return {
            name: PartsSet(
                name, role, whole, [f"{self.path.name}/{i}" for i in index.tolist()], index
            )
            for name, role, index in rows
        }


def _listed(key: str, columns: str | Sequence[str], widths: dict[str, int]) -> list[str]:
    known = ", ".join(widths)
    listed = [columns] if isinstance(columns, str) else list(columns)
    if not listed or len(set(listed)) < len(listed):
        raise InnflowError(f"data.{key}={listed}: give each column once, from {known}")
    for column in listed:
        if column not in widths:
            raise InnflowError(f"data.{key}: there is no column {column}: choose from {known}")
    return listed


def _spread(columns: Sequence[str], widths: dict[str, int]) -> list[str]:
    """Return a name for every value of a row."""
    names: list[str] = []
    for column in columns:
        width = widths[column]
        names += [column] if width == 1 else [f"{column}{i}" for i in range(width)]
    if len(set(names)) < len(names):
        raise InnflowError(f"the columns {', '.join(names)} have a name twice: rename an array")
    return names
