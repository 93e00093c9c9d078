"""Forward models that are programs: called once for each row of parameters."""

import hashlib
import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor

from innflow.data.simulation.forward import ForwardModel
from innflow.errors import InnflowError

SEED = "seed"
"""Placeholder of a random number for the program."""
_FIELD = re.compile(r"\{([^{}]*)\}")
_SEPARATORS = re.compile(r"[\s,;\[\]]+")


class Failed(ValueError):
    """Raised where a program gives no data; the message says why."""


@dataclass(frozen=True)
class _Program:
    """In place of an imported function: the function itself, and no module."""

    value: Any
    module: None = None
    modules: list[ModuleType] = field(default_factory=list)


class CommandModel(ForwardModel):
    """A program that prints the data of the parameters in its command line.

    The command is not given to a shell: it is divided into words as a shell does, and `{name}` is
    replaced by the value of a parameter, `{seed}` by a random integer. The numbers that the program
    prints on its standard output, separated by blanks, commas or lines, are the data. A program
    that fails (by its exit status, or without numbers) gives NaN.

    Args:
        command: the command line, such as `./sim {a} {b}`.
        names: of the P parameters.
        rows: Parameters (R, P) for the check, see `ForwardModel`.
        trials: as for `ForwardModel`.

    Raises:
        InnflowError: A name is unknown, or the program does not run.
    """

    key = "data.command"

    def __init__(
        self, command: str, names: Sequence[str], rows: Tensor, trials: int | None = None
    ) -> None:
        self.names = list(names)
        self.words = shlex.split(command)
        known = {*self.names, SEED}
        unknown = [name for name in _FIELD.findall(command) if name not in known]
        if unknown or not self.words:
            raise InnflowError(
                f"{self.key}={command}: {{{unknown[0] if unknown else ''}}} is no parameter: "
                f"use {{{'}, {'.join(self.names)}}} or {{{SEED}}}"
            )
        super().__init__(command, rows, "numpy", trials)

    @cached_property
    def imported(self) -> Any:
        """The function that calls the program."""
        return _Program(self._run_all)

    @property
    def source(self) -> str:
        """Digest of the files in the command: the program and its input."""
        files = [Path(word) for word in self.words]
        contents = b"".join(file.read_bytes() for file in files if file.is_file())
        return hashlib.sha256(contents).hexdigest()

    def _run_all(self, x: np.ndarray) -> np.ndarray:
        seeds = np.random.randint(2**31, size=len(x))
        found: list[np.ndarray | None] = []
        reason = ""
        for row, seed in zip(x, seeds, strict=True):
            try:
                found.append(self._run(row, int(seed)))
            except Failed as error:
                found.append(None)
                reason = reason or str(error)
        sizes = {len(one) for one in found if one is not None}
        dims = self.dims // (self.trials or 1)
        if len(sizes) > 1 or (dims and sizes - {dims}):
            raise Failed(f"prints {sorted({*sizes, *([dims] if dims else [])})} numbers")
        if not dims and not sizes:
            raise Failed(reason)
        missing = np.full(dims or sizes.pop(), np.nan)
        return np.stack([missing if one is None else one for one in found])

    def _run(self, row: np.ndarray, seed: int) -> np.ndarray:
        values = {name: repr(float(value)) for name, value in zip(self.names, row, strict=True)}
        values[SEED] = str(seed)
        words = [_FIELD.sub(lambda match: values[match[1]], word) for word in self.words]
        try:
            done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        except (OSError, UnicodeDecodeError) as error:
            raise Failed(f"{words[0]}: {error}") from None
        if done.returncode:
            said = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise Failed(f"exited with {done.returncode} ({said[0]})")
        texts = [text for text in _SEPARATORS.split(done.stdout) if text]
        try:
            numbers = np.array([float(text) for text in texts])
        except ValueError as error:
            raise Failed(f"prints other words than numbers ({error})") from None
        if not len(numbers):
            raise Failed("prints no numbers")
        return numbers
