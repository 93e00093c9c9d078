"""Calibration of the posterior at single observations (L-C2ST)."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from innflow.analysis.findings import Findings, Table
from innflow.analysis.posterior.draws import require_items, require_posterior, widen
from innflow.analysis.study import Analysis, Study
from innflow.app import Inverse
from innflow.config.bounds import Positive
from innflow.data.simulation.imports import describe
from innflow.errors import InnflowError
from innflow.metric.local_calibration import FEWEST, MOST, SWAPS, LocalTest
from innflow.system.file.atomic import write_arrays
from innflow.system.file.npz import DAMAGE, read_arrays
from innflow.system.progress import track

LEVEL = 0.01
"""Significance level."""
FILE = "calibration.npz"
"""Simulations of test in the run folder, for the test at new observations."""
STREAM = 30


@dataclass
class LocalCalibration(Analysis):
    """Test the posterior at the first observations of test by `innflow.metric.LocalTest`.

    The latents z of the other items of test train the classifier. They are also written to the run
    folder, for innflow-posterior. Where y is on the right side, the prediction of y is not tested.

        >>> LocalCalibration(observations=5)
        LocalCalibration(observations=5)

    Attributes:
        observations: number of observations.
    """

    observations: Positive = 10

    def check(self, study: Study) -> None:
        """Raise InnflowError without a posterior, and for too few items."""
        require_posterior(study, "local")
        require_items(study, "local", self._count(study) + FEWEST)

    def __call__(self, study: Study) -> Findings:
        """Test each observation; the metric is the smallest p-value, corrected for their number."""
        app = require_posterior(study, "local")
        test, count = study.sets["test"], self._count(study)
        parts = {**test.parts, "y": widen(study, test.parts["y"])}
        names = [name for name in ("x", "y", "eps") if name == "y" or name in app.partition.left]
        held = {name: parts[name][count : count + MOST] for name in names}
        if study.run_dir is not None:
            arrays = {name: part.numpy() for name, part in held.items()}
            write_arrays(study.run_dir / FILE, arrays)
        tester = fit_local_test(app, held, study.seed)
        y = standardize(app, parts["y"][:count])
        p_values = np.array([tester(one) for one in track(y, "L-C2ST")])
        smallest = float(min(1.0, count * p_values.min()))
        failed = int((p_values * count < LEVEL).sum())
        verdict = f"FAILED at {failed} of {count} observations." if failed else "All tests pass."
        text = (
            f"{verdict} A classifier of {len(held['x']):,} simulations and normal draws, which "
            "tests whether the posterior is right at each of the first "
            f"{count} observations (L-C2ST, arXiv:2306.03580); {SWAPS:,} random labellings. "
            f"Smallest p-value times {count}: {smallest:.3g}; the significance level is {LEVEL}. "
            "A posterior may pass and still be wrong where simulations are few."
        )
        rows = [[str(test.names[i]), f"{p:.3g}"] for i, p in enumerate(p_values)]
        table = Table("Local tests of calibration", ["observation", "p"], rows)
        return Findings("Local calibration", text, {"posterior/lc2st_p": smallest}, {}, [table])

    def _count(self, study: Study) -> int:
        return study.count(self.observations, 2)


def read_local_test(app: Inverse, run: Path, seed: int) -> LocalTest | None:
    """Return the test from the simulations in a run folder; None where it has none.

    Raises:
        InnflowError: if the file does not fit the run.
    """
    if not (run / FILE).is_file():
        return None
    return fit_local_test(app, read_simulations(app, run), seed)


def read_simulations(app: Inverse, run: Path) -> dict[str, Tensor]:
    """Return the simulations in a run folder: x, y and, where the partition has it, eps.

    Raises:
        InnflowError: if there are none, or the file is damaged or of another run.
    """
    path, widths = run / FILE, {"x": app.shape[0], "y": len(app.y_units.mean)}
    try:
        held = read_arrays(path)
        fits = all(held[name].ndim == 2 and held[name].shape[1] == widths[name] for name in widths)
        if not fits or ("eps" in app.partition.left and held["eps"].shape != held["y"].shape):
            raise ValueError("its arrays have other shapes")
        return {name: torch.from_numpy(values).float() for name, values in held.items()}
    except FileNotFoundError:
        raise InnflowError(
            f"{run}: has no {FILE}, which training with analysis=posterior writes"
        ) from None
    except (*DAMAGE, TypeError) as error:
        raise InnflowError(f"{path}: damaged, or not of this run ({describe(error)})") from None


def fit_local_test(app: Inverse, held: dict[str, Tensor], seed: int) -> LocalTest:
    """Return the test fitted to simulations: x, y and, where the partition has it, eps."""
    z = app.encode(held["x"], held["y"], held.get("eps")).cpu().numpy()
    rng = np.random.default_rng([seed, STREAM])
    return LocalTest(z, standardize(app, held["y"]), rng)


def standardize(app: Inverse, y: Tensor) -> np.ndarray:
    """Return data (N, M) as statistics (N, K) in the units of the flow."""
    with torch.no_grad():
        return app.summarize(app.y_units(y.to(app.device))).cpu().numpy()
