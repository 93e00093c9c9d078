"""All the scores of an experiment at once, each with its conformal p-value."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from innflow.errors import InnflowError
from innflow.score.base import Measured, Score
from innflow.score.conformal import p_values
from innflow.system.atomic import write_arrays
from innflow.system.npz import DAMAGE, read_arrays

log = logging.getLogger(__name__)

FORMAT = "innflow scorer 3"
OLDER = ("innflow scorer 1", "innflow scorer 2")
RESERVED = ("path", "score", "p_value", "log_prob", "set")

Values = dict[str, np.ndarray]


class Composite(Protocol):
    """A score made of other scores: it is given their values in place of what was measured."""

    @property
    def parts(self) -> Sequence[str]:
        """Names of the scores that it is made of."""

    def fit(self, inliers: Mapping[str, np.ndarray]) -> None:
        """Learn what is usual from the values (N,) of its parts for inliers new to them."""

    def __call__(self, items: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the scores, (N,), of items whose values are given."""

    def state(self) -> dict[str, np.ndarray]:
        """Return what `fit` learned, as arrays."""

    def load_state(self, state: dict[str, np.ndarray]) -> None:
        """Take back what `state` returned."""


class Scorer:
    """Named scores, one of them the headline.

    Args:
        scores: name -> score; the names are columns of scores.csv and parts of metric names. A
            score with `parts`, names of others, is fitted on and called with their values.
        headline: name of the score that `score` and `p_value` are about.
    """

    def __init__(self, scores: Mapping[str, Score | Composite], headline: str) -> None:
        taken = {*RESERVED, *(column(name) for name in scores)}
        clash = [name for name in scores if name in taken or "/" in name]
        if clash:
            raise InnflowError(f"score name {clash[0]!r} is taken by a column or holds a '/'")
        if headline not in scores:
            raise InnflowError(f"headline score {headline!r} is not one of {', '.join(scores)}")
        self.scores = dict(scores)
        self.headline = headline
        self.calibration: Values = {}
        """Scores of the calibration inliers, by the name of the score."""
        self._composites = {
            name: cast(Composite, score)
            for name, score in scores.items()
            if hasattr(score, "parts")
        }
        self._plain = {
            name: cast(Score, score)
            for name, score in scores.items()
            if name not in self._composites
        }
        for name, score in self._composites.items():
            unknown = [part for part in score.parts if part not in self._plain]
            if unknown:
                raise InnflowError(
                    f"score {name}: its part {unknown[0]!r} is not one of {', '.join(self._plain)}"
                )

    def __repr__(self) -> str:
        return f"Scorer({', '.join(self.scores)}; headline={self.headline})"

    @property
    def fitted(self) -> bool:
        """Whether `fit` or `load` was called."""
        return bool(self.calibration)

    def check(self, companions: Collection[str]) -> None:
        """Refuse an application that lacks another model with which a score compares.

        Args:
            companions: names of those that it has.
        """
        for score in self.scores.values():
            if hasattr(score, "check"):
                score.check(companions)

    def fit(self, train: Measured, calibration: Measured) -> None:
        """Fit every score on training inliers and calibrate every one on held-out ones.

        A score knows the very items that it was fitted on: the nearest training item of a
        training item is itself. So what a composite learns of its parts comes from halves: each
        half of train is scored by parts that were fitted on the other. The calibration items fit
        nothing, or the p-values would not be valid.
        """
        if self._composites:
            fresh = self._cross_fitted(train)
            for composite in self._composites.values():
                composite.fit({part: fresh[part] for part in composite.parts})
        for score in self._plain.values():
            score.fit(train)
        self.calibration = self._score(calibration)

    def __call__(self, items: Measured) -> Values:
        """Return `score`, `p_value`, `log_prob`, every score by name, and the p-value of each.

        Each is (N,); the p-value of the score `name` is the column `name_p`.
        """
        if not self.fitted:
            raise InnflowError("the scorer was never fitted: call fit or load first")
        named = self._score(items)
        p = {column(name): p_values(self.calibration[name], named[name]) for name in named}
        return {
            "score": named[self.headline],
            "p_value": p[column(self.headline)],
            "log_prob": np.asarray(items.log_prob, dtype=np.float64),
            **named,
            **p,
        }

    def _cross_fitted(self, train: Measured) -> Values:
        """Return the scores of training items that the composites' parts were not fitted on."""
        parts = dict.fromkeys(part for score in self._composites.values() for part in score.parts)
        values = {part: np.empty(len(train)) for part in parts}
        even = np.arange(len(train)) % 2 == 0
        for half in (even, ~even):
            fitted_on, scored = train[half], train[~half]
            for part in parts:
                self._plain[part].fit(fitted_on)
                values[part][~half] = _checked(part, self._plain[part](scored))
        return values

    def _score(self, items: Measured) -> Values:
        named = {name: _checked(name, score(items)) for name, score in self._plain.items()}
        for name, composite in self._composites.items():
            named[name] = _checked(name, composite({part: named[part] for part in composite.parts}))
        for name, values in named.items():
            endless = int(np.isinf(values).sum())
            if endless:
                # Kept: an infinite score is the strangest or the least strange there is.
                log.warning("score %s: infinite for %d of %d items", name, endless, len(values))
        return {name: named[name] for name in self.scores}

    def _kinds(self) -> dict[str, str]:
        return {name: _kind(score) for name, score in self.scores.items()}

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was fitted to an .npz of plain arrays."""
        if not self.fitted:
            raise InnflowError("the scorer was never fitted: there is nothing to save")
        arrays: Values = {
            "format": np.array(FORMAT),
            "headline": np.array(self.headline),
            "names": np.array(list(self._kinds())),
            "kinds": np.array(list(self._kinds().values())),
        }
        for name, score in self.scores.items():
            arrays[f"calibration/{name}"] = self.calibration[name]
            arrays |= {f"state/{name}/{key}": value for key, value in score.state().items()}
        pickled = [name for name, array in arrays.items() if np.asarray(array).dtype.hasobject]
        if pickled:
            raise InnflowError(f"{pickled[0]}: a score's state must be arrays of numbers")
        write_arrays(Path(path), arrays)

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
                f"{path}: its headline score is {arrays['headline'].item()}, "
                f"the one asked for is {self.headline}"
            )
        missing = {f"calibration/{name}" for name in self.scores} - arrays.keys()
        if missing:
            raise _lacks(path, missing)
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
        self.calibration = {name: arrays[f"calibration/{name}"] for name in self.scores}
        return self


def column(name: str) -> str:
    """Return the name of the column that holds the p-values of a score."""
    return f"{name}_p"


def _checked(name: str, values: np.ndarray) -> np.ndarray:
    """Return the values of a score, refusing NaN."""
    bad = int(np.isnan(values).sum())
    if bad:
        raise InnflowError(f"score {name}: NaN for {bad} of {len(values)} items")
    return values


def _kind(score: object) -> str:
    """Return the class of a score with its settings: other settings, other p-values."""
    return repr(score) if is_dataclass(score) else type(score).__name__


def _lacks(path: str | os.PathLike[str], names: Iterable[str]) -> InnflowError:
    return InnflowError(f"{path}: damaged scorer: lacks {', '.join(sorted(names))}")


def _read(path: Path) -> Values:
    try:
        arrays = read_arrays(path)
    except FileNotFoundError as error:
        raise InnflowError(f"{path}: no such file; train the run to its end first") from error
    except DAMAGE as error:
        raise InnflowError(f"{path}: damaged, or not a scorer saved by innflow") from error
    found = str(arrays.get("format", ""))
    if found in OLDER:
        raise InnflowError(
            f"{path}: written by another version of innflow ({found!r}, this one reads "
            f"{FORMAT!r}); train the run again"
        )
    if found != FORMAT:
        raise InnflowError(f"{path}: not a scorer saved by innflow (expected {FORMAT!r})")
    missing = {"names", "kinds", "headline"} - arrays.keys()
    if missing:
        raise _lacks(path, missing)
    return arrays
