"""Scorer: the anomaly scores of a run with their conformal p-values."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import is_dataclass
from pathlib import Path

import numpy as np

from innflow.errors import InnflowError
from innflow.score.base import CompositeScore, Measured, Score, nll
from innflow.score.conformal import check_scores, p_values, smallest_p_value
from innflow.system.file.atomic import write_arrays
from innflow.system.file.npz import DAMAGE, read_arrays

log = logging.getLogger(__name__)

FORMAT = "innflow scorer 3"
RESERVED = (
    *("path", "score", "p_value", "p_value_min", "calibration_items"),
    *("log_prob", "flag", "set"),
)

Values = dict[str, np.ndarray]


class Scorer:
    """Named anomaly scores, one of them the headline, and their conformal p-values.

    Args:
        scores: name -> score, or None to leave it out; the names are columns of scores.csv and
            parts of metric names.
        headline: name of the score of the columns `score` and `p_value`.

    Attributes:
        calibration: name -> scores of the calibration inliers.

    Raises:
        InnflowError: if a name is reserved, or the headline or a part of a composite is unknown.

    Example:
        >>> from types import SimpleNamespace
        >>> from innflow.score import Likelihood
        >>> scorer = Scorer({"likelihood": Likelihood()}, headline="likelihood")
        >>> items = SimpleNamespace(log_prob=np.array([-1.0, -2.0, -3.0]))
        >>> scorer.fit(train=items, calibration=items)
        >>> scorer(items)["p_value"]
        array([1.  , 0.75, 0.5 ])
    """

    def __init__(self, scores: Mapping[str, Score | CompositeScore | None], headline: str) -> None:
        given = {name: score for name, score in scores.items() if score is not None}
        taken = {*RESERVED, *(column(name) for name in given)}
        clash = [name for name in given if name in taken or "/" in name]
        if clash:
            raise InnflowError(f"score name {clash[0]!r} is taken by a column or holds a '/'")
        if headline not in given:
            raise InnflowError(f"headline score {headline!r} is not one of {', '.join(given)}")
        self.scores = given
        self.headline = headline
        self.calibration: Values = {}
        self._plain = {name: score for name, score in given.items() if isinstance(score, Score)}
        self._composites = {
            name: score for name, score in given.items() if isinstance(score, CompositeScore)
        }
        for name in given.keys() - self._plain.keys() - self._composites.keys():
            raise InnflowError(f"score {name}: must be a subclass of innflow.score.Score")
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

    @property
    def calibration_items(self) -> int:
        """Number of inliers that calibrate the p-values."""
        return len(self.calibration[self.headline])

    @property
    def p_value_min(self) -> float:
        """Smallest possible p-value, 1 / (n + 1) for n calibration items."""
        return smallest_p_value(self.calibration_items)

    def check(self, companions: Collection[str]) -> None:
        """Raise if a score needs a companion that is not among these names."""
        for score in self.scores.values():
            score.check(companions)

    def fit(self, train: Measured, calibration: Measured) -> None:
        """Fit every score on training inliers and calibrate it on held-out inliers.

        Scores of items that a score was fitted on are biased: the nearest neighbour of a training
        item is itself. So composite scores are fitted by cross-fitting: each half of the training
        items is scored by parts that were fitted on the other half. Nothing is fitted on the
        calibration items, as p-values would not be valid then.
        """
        if self._composites:
            values = self._cross_fitted(train)
            for composite in self._composites.values():
                composite.fit({part: values[part] for part in composite.parts})
        for score in self._plain.values():
            score.fit(train)
        for fitted in self.scores.values():  # same types, so same bits, as after loading
            fitted.load_state(fitted.state())
        self.calibrate(self._score(calibration))

    def calibrate(self, values: Mapping[str, np.ndarray]) -> None:
        """Calibrate the p-values on the scores (n,) of other inliers, as calling returns them.

        They must be inliers that neither flow nor scores were fitted on.
        """
        self.calibration = {
            name: check_scores(values[name], f"calibration scores {name}") for name in self.scores
        }

    def __call__(self, items: Measured) -> Values:
        """Return `score`, `p_value`, `log_prob`, and every score `NAME` with its p-value `NAME_p`.

        Each is an array (N,); scores are higher for more anomalous items. `p_value_min` is the
        smallest p-value that the number of `calibration_items` allows. All are computed in one
        pass without noise: log_prob of images, at bin centres, is no bound. A NaN score raises.
        """
        if not self.fitted:
            raise InnflowError("the scorer was never fitted: call fit or load first")
        named = self._score(items)
        p = {column(name): p_values(self.calibration[name], named[name]) for name in named}
        headline = {"score": named[self.headline], "p_value": p[column(self.headline)]}
        limit = {
            "p_value_min": np.full(len(headline["score"]), self.p_value_min),
            "calibration_items": np.full(len(headline["score"]), self.calibration_items),
        }
        return {**headline, **limit, "log_prob": -nll(items), **named, **p}

    def _cross_fitted(self, train: Measured) -> Values:
        """Return the scores of every part for training items that it was not fitted on."""
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
            infinite = int(np.isinf(values).sum())
            if infinite:  # kept, as infinite scores can be ranked
                log.warning("score %s: infinite for %d of %d items", name, infinite, len(values))
        return {name: named[name] for name in self.scores}

    def _kinds(self) -> dict[str, str]:
        """Return the class of each score with its settings, on which its p-values depend."""
        return {
            name: repr(score) if is_dataclass(score) else type(score).__name__
            for name, score in self.scores.items()
        }

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted scores and their calibration to an .npz file of plain arrays."""
        if not self.fitted:
            raise InnflowError("the scorer was never fitted: there is nothing to save")
        kinds = self._kinds()
        arrays: Values = {
            "format": np.array(FORMAT),
            "headline": np.array(self.headline),
            "names": np.array(list(kinds)),
            "kinds": np.array(list(kinds.values())),
        }
        for name, score in self.scores.items():
            arrays[f"calibration/{name}"] = self.calibration[name]
            arrays |= {f"state/{name}/{key}": value for key, value in score.state().items()}
        pickled = [name for name, array in arrays.items() if np.asarray(array).dtype.hasobject]
        if pickled:
            raise InnflowError(f"{pickled[0]}: a score's state must be arrays of numbers")
        arrays["arrays"] = np.array(list(arrays))
        write_arrays(Path(path), arrays)

    def load(self, path: str | os.PathLike[str]) -> Scorer:
        """Read the file of `save` into a scorer of the same scores; raise if it does not fit."""
        arrays = _read(Path(path))
        kinds = dict(zip(arrays["names"].tolist(), arrays["kinds"].tolist(), strict=True))
        if kinds != self._kinds():
            raise InnflowError(f"{path}: holds the scores {kinds}, expected {self._kinds()}")
        headline = arrays["headline"].item()
        if headline != self.headline:
            raise InnflowError(
                f"{path}: its headline score is {headline}, expected {self.headline}"
            )
        states: dict[str, Values] = {name: {} for name in self.scores}
        for key, value in arrays.items():
            if key.startswith("state/"):
                _, name, attribute = key.split("/")
                states[name][attribute] = value
        for name, score in self.scores.items():
            score.load_state(states[name])
        self.calibration = {name: arrays[f"calibration/{name}"] for name in self.scores}
        return self


def column(name: str) -> str:
    """Return the name of the column of p-values of a score."""
    return f"{name}_p"


def _checked(name: str, values: np.ndarray) -> np.ndarray:
    """Return the values of a score; raise if one is NaN."""
    bad = int(np.isnan(values).sum())
    if bad:
        raise InnflowError(f"score {name}: NaN for {bad} of {len(values)} items")
    return values


def _read(path: Path) -> Values:
    try:
        arrays = read_arrays(path)
    except FileNotFoundError as error:
        raise InnflowError(f"{path}: no such file; train the run to its end first") from error
    except DAMAGE as error:
        raise InnflowError(f"{path}: damaged, or not a scorer saved by innflow") from error
    found = str(arrays.get("format", ""))
    if found.startswith("innflow scorer ") and found != FORMAT:
        raise InnflowError(
            f"{path}: written by another version of innflow ({found!r}, this one reads "
            f"{FORMAT!r}); train the run again"
        )
    if found != FORMAT:
        raise InnflowError(f"{path}: not a scorer saved by innflow (expected {FORMAT!r})")
    missing = {*arrays.get("arrays", np.array(["arrays"])).tolist()} - arrays.keys()
    if missing:
        raise InnflowError(f"{path}: damaged scorer: lacks {', '.join(sorted(missing))}")
    return arrays
