"""Calibration and sharpness of the posteriors of many observations."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from innflow import metric
from innflow.analysis.findings import Findings, Plot, Table
from innflow.analysis.posterior.draws import (
    ROWS,
    draw_posterior,
    has_density,
    log_posterior,
    require_items,
    require_posterior,
    widen,
)
from innflow.analysis.posterior.local_calibration import standardize
from innflow.analysis.study import Analysis, Study
from innflow.config.bounds import Many
from innflow.figure.posterior.calibration_curves import plot_coverage, plot_ranks, plot_sharpness
from innflow.system.progress import track

LEVEL = 0.01
"""Significance level: a calibrated posterior fails each test with this probability."""
FEWEST = 20
# Largest number of draws per observation for the energy score, which takes N^2 L distances.
ENERGY_DRAWS = 200
STREAM = 20
FAILURES = {
    "ranks (SBC)": "parameter {}: posterior too narrow, too wide or biased; see its curve of ranks",
    "highest density": "joint credible regions too small (overconfident) or too large",
    "TARP": "the joint distribution of the draws differs from that of the true parameters",
    "energy": "draws fit the true parameters of other observations equally well: y has no effect",
}


@dataclass
class Coverage(Analysis):
    """Test the calibration over the first observations of test, with one true parameter each.

        >>> Coverage(observations=100)
        Coverage(observations=100, draws=1000)

    Attributes:
        observations: number of observations.
        draws: of the posterior at each.
    """

    observations: Many = 300
    draws: Many = 1000

    def check(self, study: Study) -> None:
        """Raise InnflowError without a posterior, and for too few observations."""
        require_posterior(study, "coverage")
        require_items(study, "coverage", FEWEST)

    def __call__(self, study: Study) -> Findings:
        """Run the tests; the names of all metrics begin with `posterior/`."""
        number, count = study.count(self.observations, FEWEST), study.count(self.draws, 50)
        app = require_posterior(study, "coverage")
        test = study.sets["test"].parts
        y = widen(study, test["y"][:number])
        truth = test["x"][: len(y)]
        draws = _draw(study, y, count)
        x, names = truth.numpy(), study.data.columns["x"]
        rng = np.random.default_rng([study.seed, STREAM])

        ranks = metric.compute_ranks(x, draws, rng)
        sbc = metric.check_ranks(ranks, count, rng)
        error = metric.compute_calibration_error(ranks, count)
        levels: dict[str, np.ndarray] = {}
        if has_density(app):
            levels["highest density"] = _levels(study, truth, draws, y, rng)
        points = metric.draw_tarp_references(x, standardize(app, y), rng)
        levels["TARP"] = metric.compute_tarp(x, draws, points, rng)
        tests = {name: metric.check_levels(values) for name, values in levels.items()}
        prior_sd = study.sets["train"].parts["x"].std(dim=0).numpy()
        sharpness = metric.compute_sharpness(draws, prior_sd)
        energy = metric.check_sharpness(metric.compute_energy(x, draws[:, :ENERGY_DRAWS]), rng)

        metrics = {
            "posterior/sbc_p": sbc.p_value,
            "posterior/calibration_error": float(np.median(error)),
            "posterior/tarp_gap": tests["TARP"].gap,
            "posterior/tarp_p": tests["TARP"].p_value,
            "posterior/sharpness": float(sharpness.mean()),
            "posterior/energy_gain": energy.skill,
            "posterior/energy_p": energy.p_value,
        }
        density = tests.get("highest density")
        if density is not None:
            metrics["posterior/coverage_gap"] = density.gap
            metrics["posterior/coverage_p"] = density.p_value
        failure = FAILURES["ranks (SBC)"].format(names[int(sbc.p_values.argmin())])
        checks = [_row("ranks (SBC)", "-", sbc.p_value, sbc.p_value >= LEVEL, failure)]
        for name, (gap, p) in tests.items():
            checks.append(_row(name, f"gap {gap:.3f}", p, p >= LEVEL, FAILURES[name]))
        # The null hypothesis is independence: draws that use the data have a small p-value.
        name, gain = "draws depend on the observation (energy)", f"gain {energy.skill:.3f}"
        checks.append(_row(name, gain, energy.p_value, energy.p_value < LEVEL, FAILURES["energy"]))
        failed = [check[0] for check in checks if check[3] == "FAIL"]
        verdict = f"FAILED: {', '.join(failed)}." if failed else "All tests pass."
        least, most = int(sharpness.argmin()), int(sharpness.argmax())
        text = (
            f"{verdict} The first {len(y):,} observations of test, {count:,} draws at each; the "
            f"significance level of each test is {LEVEL}.\n\n"
            "Calibration error, the median over levels and parameters of the difference between "
            f"the coverage of central intervals and their level: {np.median(error):.3f} (worst "
            f"parameter: {names[int(error.argmax())]}, {error.max():.3f}). Ratio of the "
            f"posterior's standard deviation to the prior's: {sharpness.mean():.3f} on average "
            f"over parameters (least {names[least]}, {sharpness[least]:.3f}; most {names[most]}, "
            f"{sharpness[most]:.3f}). Draws of the prior pass the rank test, but fail the energy "
            "test of dependence on the observation. All tests average over observations, so a "
            "posterior may pass them and still be wrong for single observations."
        )
        if density is None:
            text += (
                f"\n\np(x | y) has no closed form with {app.partition}: no test of "
                "highest-density regions."
            )
        if app.width > 0:
            text += (
                f"\n\nThe data have Gaussian noise of {app.width:g} standard deviations added, as "
                "in training: the posterior is that of such data."
            )
        figures = {
            "ranks": Plot(
                plot_ranks(ranks, count, names),
                "Distribution of the ranks of the true parameters among their draws, minus the "
                "uniform one. Above zero on the left and below on the right: posterior too narrow; "
                "the opposite: too wide; on one side throughout: biased.",
            ),
            "levels": Plot(
                plot_coverage(levels),
                "Expected coverage of credible regions against their level. Below the line: "
                "regions too small, an overconfident posterior.",
            ),
            "sharpness": Plot(
                plot_sharpness(sharpness, names),
                "Ratio of the posterior's to the prior's standard deviation, by parameter.",
            ),
        }
        columns = ["test", "statistic", "p", "result", "meaning of a failure"]
        table = Table("Tests of calibration", columns, checks)
        return Findings("Coverage", text, metrics, figures, [table])


def _draw(study: Study, y: Tensor, count: int) -> np.ndarray:
    step = max(1, ROWS // count)
    starts = track(range(0, len(y), step), "posterior draws")
    drawn = [draw_posterior(study, y[i : i + step], count, (STREAM, i)) for i in starts]
    return np.concatenate(drawn)


def _levels(
    study: Study, truth: Tensor, draws: np.ndarray, y: Tensor, rng: np.random.Generator
) -> np.ndarray:
    rows = torch.from_numpy(draws).flatten(0, 1)
    own = log_posterior(study, rows, y.repeat_interleave(draws.shape[1], dim=0))
    return metric.compute_levels(log_posterior(study, truth, y), own.reshape(len(y), -1), rng)


def _row(name: str, statistic: str, p: float, passed: bool, failure: str) -> list[str]:
    return [name, statistic, f"{p:.3g}", "pass" if passed else "FAIL", failure]
