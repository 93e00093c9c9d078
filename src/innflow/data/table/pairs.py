"""Pairs of parameters x and data y from the columns of a CSV, NPZ or Parquet file."""

import math
import os

from innflow.data.base import check_fraction
from innflow.data.sets import Batch, PartsSet, make_sets
from innflow.data.simulation.inverse_data import InverseData
from innflow.data.simulation.missing import check_missing
from innflow.data.simulation.support import Support, check_varied, given_support
from innflow.data.table.categories import whole_columns, within_bins
from innflow.data.table.columns import check_columns, listed, spread_names
from innflow.data.table.files import read_table
from innflow.data.table.formats import existing_table, read_header
from innflow.errors import InnflowError
from innflow.system.progress import announce


class Pairs(InverseData):
    """Pairs of parameters x and data y of an inverse problem, simulated or measured, one per row.

    Their prior and their forward model are unknown.

    >>> import numpy as np
    >>> np.savetxt("pairs.csv", np.random.rand(100, 3), delimiter=",", header="a,b,c", comments="")
    >>> Pairs("pairs.csv", x=["a"], y=["b", "c"]).shapes
    {'x': (1,), 'y': (2,)}

    Args:
        path: A .csv with a line of column names, a .npz with one array (N,) or (N, D) a name, or a
            .parquet file.
        x: Columns that hold the parameters, in this order.
        y: Columns that hold the data. An array (N, D) of an .npz gives D of them, named a0, a1 ...
        shape: Of one y, whose values are in the columns: [T, C] of a series; by default a vector.
        missing: Mean share of the values of y that are left out at random. With 0, only those are
            missing whose cells are blank or NaN; null for complete data.
        support: [low, high] of each parameter, null for an open end; any real number by default.
        test: Fraction of all rows that becomes the set "test".
        batch_size, holdout, workers, seed: See `PartsDataModule`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        x: str | list[str],
        y: str | list[str],
        shape: list[int] | None = None,
        missing: float | None = None,
        support: list[list[float | None]] | None = None,
        batch_size: int = 128,
        holdout: float = 0.1,
        test: float = 0.1,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        self.path = existing_table(path)
        self.test = check_fraction("test", test)
        widths = read_header(self.path)
        parts = {"x": x, "y": y}
        self.chosen = {
            key: check_columns(key, part, widths, self.path) for key, part in parts.items()
        }
        both = [column for column in self.chosen["x"] if column in self.chosen["y"]]
        if both:
            raise InnflowError(f"data.x and data.y both have the column {both[0]}: it is either")
        self._columns = {part: spread_names(names, widths) for part, names in self.chosen.items()}
        super().__init__((len(self._columns["x"]),), batch_size, holdout, workers, seed)
        columns = len(self._columns["y"])
        self.y_shape = (columns,) if shape is None else tuple(shape)
        if math.prod(self.y_shape) != columns:
            raise InnflowError(f"data.shape={shape}: y has {columns} columns")
        self.missing, self._blanks = check_missing(missing, None), missing is not None
        if support is None:
            self.support = Support.real(*self.shape)
        else:
            self.support = given_support(support, *self.shape)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Add uniform noise to the whole numbers of a training batch."""
        if self.is_training:
            with self.shared_draws():
                noisy = {part: within_bins(batch[part], self._whole[part]) for part in "xy"}
            return {**batch, **noisy}
        return batch

    def load_sets(self) -> dict[str, PartsSet]:
        """Return the rows of the file in three disjoint sets.

        Raises:
            InnflowError: A value is missing; a parameter lies outside the support, or is the same
                in all rows.
        """
        parts = {
            part: read_table(self.path, names, apart=True, missing=self._may_miss(part))[0]
            for part, names in self.chosen.items()
        }
        check_varied(parts["x"], self._columns["x"], f"all rows of {self.path}")
        self.support.check(parts["x"], self._columns["x"])
        self._whole = {part: whole_columns(values) for part, values in parts.items()}
        whole = [
            name
            for part, names in self._columns.items()
            for name, is_whole in zip(names, self._whole[part], strict=True)
            if is_whole
        ]
        if whole:
            announce(
                f"{self.path}: whole numbers, to which training adds uniform noise from -1/2 to "
                f"1/2 (dequantization): {listed(whole)}"
            )
        items, of = PartsSet.numbered(self.path.name, "train", parts), f"{self.path}, rows"
        return self.hide_missing(make_sets(items, self.test, self.holdout, self.seed, of))

    def _may_miss(self, part: str) -> bool:
        return part == "y" and self._blanks
