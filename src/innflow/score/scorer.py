"""All the scores of an experiment at once, with a p-value for the headline score."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from innflow.errors import InnflowError
from innflow.score.base import Measured, Score
from innflow.score.conformal import p_values

FORMAT = "innflow scorer 1"
RESERVED = ("path", "score", "p_value", "log_prob", "set")


class Scorer:
    """Named scores, one of them the headline.

    Args:
        scores: name -> score; the names are columns of scores.csv and parts of metric names.
        headline: name of the score that `score` and `p_value` are about.
    """

    def __init__(self, scores: Mapping[str, Score], headline: str) -> None:
        taken = [name for name in scores if name in RESERVED or "/" in name]
        if taken:
            raise InnflowError(f"score name {taken[0]!r} is taken by a column or holds a '/'")
        if headline not in scores:
            raise InnflowError(f"headline score {headline!r} is not one of {', '.join(scores)}")
        self.scores = dict(scores)
        self.headline = headline
        self.calibration = np.zeros(0)

    def __repr__(self) -> str:
        return f"Scorer({', '.join(self.scores)}; headline={self.headline})"

    @property
    def fitted(self) -> bool:
        """Whether `fit` or `load` was called."""
        return len(self.calibration) > 0

    def fit(self, train: Measured, calibration: Measured) -> None:
        """Fit every score on training inliers and calibrate the headline on held-out ones."""
        for score in self.scores.values():
            score.fit(train)
        self.calibration = self._score(self.headline, calibration)

    def __call__(self, items: Measured) -> dict[str, np.ndarray]:
        """Return `score`, `p_value`, `log_prob` and every score by name, each (N,)."""
        if not self.fitted:
            raise InnflowError("the scorer was never fitted: call fit or load first")
        named = {name: self._score(name, items) for name in self.scores}
        return {
            "score": named[self.headline],
            "p_value": p_values(self.calibration, named[self.headline]),
            "log_prob": np.asarray(items.log_prob, dtype=np.float64),
            **named,
        }

    def _score(self, name: str, items: Measured) -> np.ndarray:
        values = self.scores[name](items)
        bad = int(np.isnan(values).sum())
        if bad:
            raise InnflowError(f"score {name}: NaN for {bad} of {len(values)} items")
        return values

    def _kinds(self) -> dict[str, str]:
        return {name: type(score).__name__ for name, score in self.scores.items()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was fitted to an .npz of plain arrays."""
        if not self.fitted:
            raise InnflowError("the scorer was never fitted: there is nothing to save")
        arrays: dict[str, np.ndarray] = {
            "format": np.array(FORMAT),
            "headline": np.array(self.headline),
            "names": np.array(list(self._kinds())),
            "kinds": np.array(list(self._kinds().values())),
            "calibration": self.calibration,
        }
        for name, score in self.scores.items():
            arrays |= {f"state/{name}/{key}": value for key, value in score.state().items()}
        pickled = [name for name, array in arrays.items() if np.asarray(array).dtype.hasobject]
        if pickled:
            raise InnflowError(f"{pickled[0]}: a score's state must be arrays of numbers")
        target = Path(path)
        partial = target.with_name(target.name + ".partial")
        with partial.open("wb") as file:
            np.savez(file, **cast(dict[str, Any], arrays))
        partial.replace(target)

    def load(self, path: str | os.PathLike[str]) -> Scorer:
        """Read what `save` wrote, into a scorer made with the same names and kinds of scores.

        Raises:
            InnflowError: where the file is missing, damaged, of another kind, or of other scores.
        """
        arrays = _read(Path(path))
        kinds = dict(zip(arrays["names"].tolist(), arrays["kinds"].tolist(), strict=True))
        if kinds != self._kinds():
            raise InnflowError(f"{path}: holds the scores {kinds}, asked for {self._kinds()}")
        if arrays["headline"].item() != self.headline:
            raise InnflowError(
                f"{path}: p-values are calibrated for {arrays['headline'].item()}, "
                f"the headline asked for is {self.headline}"
            )
        for name, score in self.scores.items():
            prefix = f"state/{name}/"
            state = {
                key.removeprefix(prefix): value
                for key, value in arrays.items()
                if key.startswith(prefix)
            }
            try:
                score.load_state(state)
            except KeyError as error:
                raise InnflowError(f"{path}: score {name} lacks its array {error}") from error
        self.calibration = arrays["calibration"]
        return self


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        loaded = np.load(path, allow_pickle=False)
        if not isinstance(loaded, np.lib.npyio.NpzFile):
            raise InnflowError(f"{path}: not a scorer saved by innflow")
        with loaded as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise InnflowError(f"{path}: no such file; train the run to its end first") from error
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InnflowError(f"{path}: damaged, or not a scorer saved by innflow") from error
    if "format" not in arrays or str(arrays["format"]) != FORMAT:
        raise InnflowError(f"{path}: not a scorer saved by innflow (expected {FORMAT!r})")
    missing = {"names", "kinds", "headline", "calibration"} - arrays.keys()
    if missing:
        raise InnflowError(f"{path}: damaged scorer: lacks {', '.join(sorted(missing))}")
    return arrays
