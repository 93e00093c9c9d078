"""Draws from the reference posterior of a user, by import path."""

from typing import Any

import numpy as np

from innflow.data.simulation.imports import describe, resolve
from innflow.errors import InnflowError


def check_reference(path: str) -> None:
    """Raise InnflowError if there is no function at an import path."""
    if not callable(resolve(path, "data.reference").value):
        raise InnflowError(f"data.reference={path}: is no function (y, n, rng, noise)")


def draw_reference(
    path: str,
    parameters: int,
    noise: np.ndarray | None,
    trials: int | None,
    y: Any,
    n: int,
    seed: int,
) -> np.ndarray:
    """Return draws (n, P) of the function (y, n, rng, noise) at an import path.

    Of trials, the function gets those that are not missing (N, D), and the noise of one.

    Raises:
        InnflowError: The function raises, or does not return finite numbers (n, P).
    """
    where = f"data.reference={path}"
    given = np.asarray(y, dtype=np.float64)
    if trials is not None:
        given = given.reshape(trials, -1)
        given = given[~np.isnan(given).all(axis=1)]
    function = resolve(path, "data.reference").value
    try:
        draws = function(given, n, np.random.default_rng(seed), noise)
    except InnflowError:
        raise
    except Exception as error:
        raise InnflowError(f"{where}: raises {describe(error)}") from error
    if np.shape(draws) != (n, parameters):
        raise InnflowError(f"{where}: returns {np.shape(draws)}, expected {(n, parameters)}")
    if np.isnan(given).any() and not np.isfinite(draws).all():
        raise InnflowError(f"{where}: has no draws for data with missing values (NaN)")
    return np.asarray(draws)
