"""Posterior draws as InferenceData of ArviZ, version 0 or 1."""

import importlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from innflow.command.posterior.files import Posteriors
from innflow.errors import InnflowError

FILE = "posterior.nc"


def require_arviz() -> Any:
    """Return the package; raise InnflowError where it is not installed."""
    try:
        with warnings.catch_warnings():  # of version 0: that there is a version 1
            warnings.simplefilter("ignore", FutureWarning)
            return importlib.import_module("arviz")
    except ImportError:
        raise InnflowError("arviz=true needs ArviZ: pip install 'innflow[arviz]'") from None


def to_inference_data(result: Posteriors) -> Any:
    """Return InferenceData, or a DataTree of ArviZ 1, of the posteriors of B observations.

    Its group `posterior` has a variable for each parameter with the dimensions chain (one), draw
    and, for several observations, observation. `sample_stats` has the log density `lp` where it is
    known, `observed_data` the data y.
    """
    arviz, several = require_arviz(), len(result.x) > 1
    draws = result.x if several else result.x[0]  # ([B,] n, P)
    chain = np.moveaxis(draws, 0, 1)[None] if several else draws[None]  # (1, n, [B,] P)
    groups: dict[str, dict[str, np.ndarray]] = {
        "posterior": {name: chain[..., i] for i, name in enumerate(result.parameters)},
        "observed_data": {"y": result.y if several else result.y[0]},
    }
    if result.log_prob is not None:
        log_prob = result.log_prob.T if several else result.log_prob[0]
        groups["sample_stats"] = {"lp": log_prob[None]}
    axis = ["observation"] if several else []
    dims = {name: axis for name in (*result.parameters, "lp")} | {"y": [*axis, "observable"]}
    coords: dict[str, Any] = {"observable": list(result.observables)}
    coords |= {"observation": np.arange(len(result.x))} if several else {}
    options: dict[str, Any] = {"coords": coords, "dims": dims}
    if int(arviz.__version__.partition(".")[0]) < 1:
        return arviz.from_dict(**groups, **options)
    return arviz.from_dict(groups, **options)


def write_inference_data(result: Posteriors, folder: Path) -> None:
    """Write posterior.nc, a NetCDF file."""
    to_inference_data(result).to_netcdf(str(folder / FILE))
