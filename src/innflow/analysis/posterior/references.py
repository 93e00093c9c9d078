"""Draws of exact posteriors for comparison, cached in the run folder, as they can take minutes."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from innflow.analysis.posterior.draws import make_seed, problem_of
from innflow.analysis.study import Study
from innflow.errors import InnflowError
from innflow.system.file.atomic import write_arrays
from innflow.system.file.npz import DAMAGE, read_arrays
from innflow.system.progress import track

log = logging.getLogger(__name__)

FOLDER = "references"
TRIALS = 3


@dataclass
class References:
    """Reference draws of several observations.

    Attributes:
        draws: position in test -> (n, P) float32.
        failed: position in test -> error of the reference.
    """

    draws: dict[int, np.ndarray]
    failed: dict[int, str]

    def note(self) -> str:
        """Return a sentence on the observations without reference draws, or an empty string."""
        if not self.failed:
            return ""
        count = len(self.failed)
        return (
            f"The reference gave no draws for {count} of {count + len(self.draws)} observations, "
            f"which are left out of the comparison; the first error is: "
            f"{next(iter(self.failed.values()))}."
        )


def load_references(
    study: Study, counts: Mapping[int, int], stream: int, keep: bool = True
) -> References:
    """Return reference draws at observations of test, from the cache of the run folder if there.

    Args:
        study: of an inverse problem; without a reference there are no draws.
        counts: position in test -> number of draws.
        stream: of random numbers; draws of two streams are independent.
        keep: whether draws are cached in the run folder.
    """
    found = References({}, {})
    if problem_of(study).reference is None:
        return found
    for position, n in track(counts.items(), "reference posteriors", len(counts)):
        try:
            draw = _load if keep else _draw
            found.draws[position] = draw(study, position, n, stream)
        except InnflowError as error:
            found.failed[position] = str(error)
    return found


def try_reference(study: Study) -> None:
    """Raise InnflowError if the reference gives no draws at all of the first observations.

    Raises:
        InnflowError: the error of the reference for the last of them.
    """
    reference = problem_of(study).reference
    if reference is None:
        return
    observed = study.sets["test"].parts["y"][:TRIALS]
    for position, y in enumerate(observed):
        try:
            reference(y.numpy(), 2, study.seed)
            return
        except InnflowError:
            # A single observation may be too unlikely for the reference.
            if position == len(observed) - 1:
                raise


def _draw(study: Study, position: int, n: int, stream: int) -> np.ndarray:
    y = study.sets["test"].parts["y"][position].numpy()
    reference = problem_of(study).reference
    assert reference is not None
    return np.asarray(reference(y, n, make_seed(study, (stream, position))), np.float32)


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
    try:
        path.parent.mkdir(exist_ok=True)
        write_arrays(path, {"draws": draws})
    except OSError as error:
        log.warning("%s: reference draws are not cached (%s)", path, error.strerror)
    return draws


def _key(study: Study, position: int, n: int, stream: int) -> str:
    """Return a digest of everything on which the draws depend."""
    data = problem_of(study)
    settings = (n, make_seed(study, (stream, position)), data.reference_path)
    digest = hashlib.sha256(repr(settings).encode())
    digest.update(study.sets["test"].parts["y"][position].numpy().tobytes())
    digest.update(b"" if data.noise is None else data.noise.numpy().tobytes())
    return digest.hexdigest()[:20]
