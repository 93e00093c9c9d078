"""Draws of exact posteriors to compare with, kept under the run folder: they can take minutes."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from innflow.analysis.posterior.draws import make_seed
from innflow.analysis.study import Study
from innflow.errors import InnflowError
from innflow.system.atomic import write_arrays
from innflow.system.npz import DAMAGE, read_arrays
from innflow.system.progress import track

log = logging.getLogger(__name__)

FOLDER = "references"
TRIALS = 3


@dataclass
class References:
    """Reference draws of several observations.

    Attributes:
        draws: position in test -> (n, P) float32.
        failed: position in test -> why the reference gave none.
    """

    draws: dict[int, np.ndarray]
    failed: dict[int, str]

    def note(self) -> str:
        """Return a sentence on the observations without reference draws, empty where all have."""
        if not self.failed:
            return ""
        count = len(self.failed)
        return (
            f"The reference gave no draws for {count} of {count + len(self.draws)} observations, "
            f"which are left out of the comparison; of the first it says: "
            f"{next(iter(self.failed.values()))}."
        )


def load_references(
    study: Study, counts: Mapping[int, int], stream: int, keep: bool = True
) -> References:
    """Return reference draws at observations of test, from the run folder where it has them.

    Args:
        study: with data that have a reference; without one there are no draws.
        counts: position in test -> number of draws.
        stream: of random numbers; draws of two streams are independent.
        keep: in the run folder.
    """
    found = References({}, {})
    if getattr(study.data, "reference", None) is None:
        return found
    for position, n in track(counts.items(), "reference posteriors", len(counts)):
        try:
            draw = _load if keep else _draw
            found.draws[position] = draw(study, position, n, stream)
        except InnflowError as error:
            found.failed[position] = str(error)
    return found


def try_reference(study: Study) -> None:
    """Refuse a reference that gives no draws at any of the first observations.

    Raises:
        InnflowError: what the reference says of the last of them.
    """
    reference = getattr(study.data, "reference", None)
    if reference is None:
        return
    observed = study.sets["test"].parts["y"][:TRIALS]
    for position, y in enumerate(observed):
        try:
            reference(y.numpy(), 2, study.seed)
            return
        except InnflowError:
            # One observation may be too unlikely for it; of several, none is.
            if position == len(observed) - 1:
                raise


def _draw(study: Study, position: int, n: int, stream: int) -> np.ndarray:
    y = study.sets["test"].parts["y"][position].numpy()
    return np.asarray(study.data.reference(y, n, make_seed(study, (stream, position))), np.float32)


def _load(study: Study, position: int, n: int, stream: int) -> np.ndarray:
    if study.run_dir is None:
        return _draw(study, position, n, stream)
    path = study.run_dir / FOLDER / f"{_key(study, position, n, stream)}.npz"
    if path.is_file():
        try:
            return read_arrays(path, ["draws"])["draws"]
        except DAMAGE as error:
            log.warning("%s is damaged (%s): drawing it again", path, error)
    draws = _draw(study, position, n, stream)
    _save(path, draws)
    return draws


def _save(path: Path, draws: np.ndarray) -> None:
    """Write draws whole or not at all; a folder that cannot be written to is no reason to stop."""
    try:
        path.parent.mkdir(exist_ok=True)
        write_arrays(path, {"draws": draws})
    except OSError as error:
        log.warning("%s: reference draws are not kept (%s)", path, error.strerror)


def _key(study: Study, position: int, n: int, stream: int) -> str:
    """Return a name that changes with all that the draws depend on."""
    data: Any = study.data
    noise = getattr(data, "noise", None)
    told = (n, make_seed(study, (stream, position)), getattr(data, "reference_path", None))
    digest = hashlib.sha256(repr(told).encode())
    digest.update(study.sets["test"].parts["y"][position].numpy().tobytes())
    digest.update(b"" if noise is None else noise.numpy().tobytes())
    return digest.hexdigest()[:20]
