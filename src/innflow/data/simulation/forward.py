"""A user's forward model by import path: checked once, then run on chunks of rows.

Worker processes import this module, so it has few imports.
"""

import math
import time
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from innflow.data.simulation.imports import Lazy, describe, module_name, user_code
from innflow.data.simulation.isolate import Ended, call
from innflow.data.simulation.seeding import seeded
from innflow.errors import InnflowError

ARRAYS = ("auto", "torch", "numpy")
_SEARCH = 5.0
"""Seconds for the search of the row at which a forward model raises."""
_NAMES = {"torch": "torch tensor", "numpy": "numpy array"}


class Unfit(ValueError):
    """Raised where a forward model does not return an array (B, M)."""


class ForwardModel(Lazy):
    """A function of parameters (B, P) that returns data, called by its import path.

    The data are (B, M), or have more axes, as of series and images; they are flattened.

    It is pickled as its path, so a worker process imports the module itself.

    Args:
        path: Import path of the function.
        rows: Parameters (R, P) for the check, with R = `trial_rows(P)`.
        array: Type of its argument: "torch" (float32 tensors), "numpy" (float64 arrays), or "auto",
            which tries torch first, but NumPy where the function uses only NumPy, since NumPy code
            can give other results on a tensor (its standard deviation divides by N - 1).
        trials: Number of times that it is called for the same parameters; their data (B, D) are
            those of one call.

    Attributes:
        kind: Type of its argument, "torch" or "numpy".
        dims: Number M of its observables, those of all trials together.
        shape: Of the data of one row: that which the function returns, (trials, D) of trials.
        seconds: Time of one row in the check.

    Raises:
        InnflowError: It cannot be imported or called, or does not return an array (B, M).
    """

    key = "data.forward"

    def __init__(
        self, path: str, rows: Tensor, array: str = "auto", trials: int | None = None
    ) -> None:
        self.path, self.trials = path, trials
        self.shape: tuple[int, ...] = (1,)
        self.dims, self.kind, self.seconds = 0, "torch", 0.0
        if not callable(self.imported.value):
            found = type(self.imported.value).__name__
            raise InnflowError(f"{self.key}={path}: has the type {found}, expected a function")
        reasons: dict[str, str] = {}
        for_numpy = _packages(self.imported.value) & {"torch", "numpy"} == {"numpy"}
        order = ("numpy", "torch") if for_numpy else ("torch", "numpy")
        for kind in order if array == "auto" else (array,):
            self.kind = kind
            try:
                self.dims = self._tried(rows)
                return
            except Exception as error:
                reasons[_NAMES[kind]] = explain(error)
        kinds, texts = " or a ".join(reasons), list(dict.fromkeys(reasons.values()))
        raise InnflowError(
            f"{self.key}={path}: given {len(rows) - 1} draws from the prior at once, as a "
            f"{kinds} {(len(rows) - 1, rows.shape[1])}, it {' or '.join(texts)}"
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Return data (B, M), float32 on the CPU, for parameters (B, P).

        Raises:
            InnflowError: The function raises, or does not return an array (B, M).
        """
        try:
            given = x.detach().cpu().float().numpy()
            return torch.from_numpy(call(lambda: self.rows(given)))
        except Ended as error:
            raise InnflowError(f"{self.key}={self.path}: it {error}") from None
        except Exception as error:
            raise InnflowError(f"{self.key}={self.path}: it {explain(error)}") from error

    @property
    def source(self) -> str:
        """What the results depend on besides the modules of the function, as text."""
        return ""

    def rows(self, x: np.ndarray) -> np.ndarray:
        """Return data (B, M) float32 for parameters (B, P) float32; its errors are not caught."""
        return self._shaped(x).reshape(len(x), -1)

    def _shaped(self, x: np.ndarray) -> np.ndarray:
        many = x.repeat(self.trials or 1, axis=0)  # a copy
        with user_code(may_exit=True):
            result = self.imported.value(
                torch.from_numpy(many) if self.kind == "torch" else many.astype(np.float64)
            )
        y = _array(result, len(many))
        dims = y[0].size * (self.trials or 1)
        if self.dims and dims != self.dims:
            raise Unfit(f"returns {dims} observables, after {self.dims} for the first rows")
        return y if self.trials is None else y.reshape(len(x), self.trials, -1)

    def _tried(self, rows: Tensor) -> int:
        self.dims, count = 0, len(rows) - 1
        try:
            self.shape, self.seconds = call(lambda: self._measure(rows[:count]))
            dims = math.prod(self.shape)
            if dims == count:  # as many observables as rows: possibly (M, B)
                call(lambda: self._measure(rows))
        except Ended as error:
            raise Unfit(str(error)) from None
        return dims

    def _measure(self, rows: Tensor) -> tuple[tuple[int, ...], float]:
        """Return the shape of the data of one row, and its seconds."""
        start = time.monotonic()
        with seeded([0], self.imported.modules):
            shape = self._shaped(rows.numpy()).shape[1:]
        return shape, (time.monotonic() - start) / len(rows)


def explain(error: Exception) -> str:
    """Return an error of a forward model as the end of a sentence."""
    return str(error) if isinstance(error, Unfit) else f"raises {describe(error)}"


def trial_rows(dims: int) -> int:
    """Return the number of rows to check a forward model with, plus one in reserve.

    More than two rows are used when P=2, so that a model that unpacks rows instead of columns
    (`a, b = x`) fails the check.
    """
    return 3 + (dims == 2)


def _packages(function: Any) -> set[str]:
    """Return the packages that a function and the functions that it calls refer to."""
    found: set[str] = set()
    seen: set[int] = set()
    pending = [function]
    while pending:
        function = pending.pop()
        function = function if hasattr(function, "__code__") else type(function).__call__
        if id(function) in seen or not hasattr(function, "__code__"):
            continue
        seen.add(id(function))
        codes = [function.__code__]
        codes += [inner for inner in codes[0].co_consts if isinstance(inner, CodeType)]
        for name in {name for code in codes for name in code.co_names}:
            value = function.__globals__.get(name)
            home = value.__name__ if isinstance(value, ModuleType) else module_name(value)
            found.add(home.split(".")[0])
            pending += [value] if isinstance(value, FunctionType) else []
    return found


def _array(y: Any, count: int) -> np.ndarray:
    """Return the result of a forward model as (B, ...) float32 of at least two axes."""
    if isinstance(y, Tensor):
        y = y.detach().cpu().numpy()
    if not hasattr(y, "shape"):
        raise Unfit(f"returns a {type(y).__name__}, expected one array (B, M)")
    y = np.asarray(y)
    if y.dtype.kind not in "fiub":
        raise Unfit(f"returns {y.dtype}, expected real numbers")
    if y.shape[:1] != (count,) or not y.size:
        raise Unfit(f"returns the shape {y.shape}, expected ({count}, M)")
    with np.errstate(over="ignore"):  # overflow becomes infinite
        shaped = y.reshape(count, 1) if y.ndim == 1 else y
        return np.ascontiguousarray(shaped, dtype=np.float32)


def run_chunk(
    model: ForwardModel, x: np.ndarray, seed: tuple[int, ...], start: int
) -> np.ndarray | str:
    """Return data for a chunk of rows that starts at row `start`, or an error message."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # another order of summation changes the last bits
    try:
        with seeded(seed, model.imported.modules):
            return model.rows(x)
    except InnflowError:
        raise
    except Exception as error:
        return _culprit(model, x, seed, error) or (
            f"it {explain(error)}, at rows {start:,} to {start + len(x) - 1:,}"
        )
    finally:
        torch.set_num_threads(threads)


def _culprit(
    model: ForwardModel, x: np.ndarray, seed: tuple[int, ...], raised: Exception
) -> str | None:
    """Return a message about the first row that raises the same error, if found in time."""
    deadline = time.monotonic() + _SEARCH
    for row in x:
        if time.monotonic() > deadline:
            return None
        try:
            with seeded(seed, model.imported.modules):
                model.rows(row[None])
        except Exception as error:
            if type(error) is type(raised):
                return f"it {explain(error)}, at x = {shown(row)}"
    return None


def shown(row: np.ndarray) -> str:
    """Return a vector as text, shortened to 8 values."""
    values = ", ".join(f"{value:.7g}" for value in row[:8])
    return f"[{values}{f', ... {len(row)} values' if len(row) > 8 else ''}]"
