"""Whether posteriors over many observations are calibrated, and whether they are any narrower."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from innflow.analysis.findings import Findings, Plot, Table
from innflow.analysis.posterior.draws import draw_posterior, has_density, log_posterior, widen
from innflow.analysis.study import Study, require_whole
from innflow.errors import InnflowError
from innflow.figure.posterior.coverage import plot_coverage, plot_ranks, plot_sharpness
from innflow.metric import (
    LevelTest,
    check_levels,
    check_ranks,
    check_sharpness,
    compute_calibration_error,
    compute_energy,
    compute_levels,
    compute_ranks,
    compute_sharpness,
    compute_tarp,
    draw_tarp_references,
)
from innflow.system.progress import track

LEVEL = 0.01
"""A check of a calibrated posterior fails by chance this often."""
FEWEST = 20
# Rows that go through the application in one call.
ROWS = 20_000
# The energy score takes N^2 L distances: this many draws of each observation are enough.
ENERGY_DRAWS = 200
STREAM = 20


@dataclass
class Coverage:
    """Checks the calibration over the first observations of test, one true parameter each.

    Attributes:
        observations: how many.
        draws: of the posterior at each.
    """

    observations: int = 300
    draws: int = 1000

    def check(self, study: Study) -> None:
        """Refuse an application without posterior, bad settings and too few observations."""
        study.require_posterior("coverage")
        require_whole("coverage.observations", self.observations, FEWEST)
        require_whole("coverage.draws", self.draws, 10)
        available = len(study.sets["test"])
        if available < FEWEST:
            raise InnflowError(
                f"analysis coverage: set test has {available} items, at least {FEWEST} are needed: "
                "raise data.n_test, or leave it out of the analysis group"
            )

    def __call__(self, study: Study) -> Findings:
        """Check; every metric begins with `posterior/`."""
        app = study.require_posterior("coverage")
        test = study.sets["test"].parts
        y = widen(study, test["y"][: self.observations])
        truth = test["x"][: len(y)]
        draws = self._draw(study, y)
        x, names = truth.numpy(), study.data.columns["x"]
        rng = np.random.default_rng([study.seed, STREAM])

        ranks = compute_ranks(x, draws, rng)
        sbc = check_ranks(ranks, self.draws, rng)
        error = compute_calibration_error(ranks, self.draws)
        levels: dict[str, np.ndarray] = {}
        if has_density(app):
            levels["highest density"] = self._levels(study, truth, draws, y, rng)
        points = draw_tarp_references(x, y.numpy(), rng)
        levels["TARP"] = compute_tarp(x, draws, points, rng)
        tests = {name: check_levels(values) for name, values in levels.items()}
        sharpness = compute_sharpness(draws, study.sets["train"].parts["x"].std(dim=0).numpy())
        energy = check_sharpness(compute_energy(x, draws[:, :ENERGY_DRAWS]), rng)

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
        checks = [_of_ranks(sbc.p_value, names[int(sbc.p_values.argmin())])]
        checks += [_of_levels(name, test) for name, test in tests.items()]
        checks.append(_of_energy(energy.skill, energy.p_value))
        failed = [check[0] for check in checks if check[3] == "FAIL"]
        verdict = f"FAILED: {', '.join(failed)}." if failed else "All checks pass."
        text = (
            f"{verdict} The first {len(y):,} observations of test, {self.draws:,} draws at each; a "
            f"check fails at p < {LEVEL}, and a calibrated posterior fails each that often.\n\n"
            f"Central intervals of single parameters miss their level by {np.median(error):.3f} in "
            f"the median over levels and parameters (worst parameter: "
            f"{names[int(error.argmax())]}, {error.max():.3f}). The posterior's standard "
            f"deviation is {sharpness.mean():.3f} of the prior's on average over parameters "
            f"(least {names[int(sharpness.argmin())]}, {sharpness.min():.3f}; most "
            f"{names[int(sharpness.argmax())]}, {sharpness.max():.3f}). Draws of the prior pass "
            "the rank test: what they fail is the check that draws know their observation. All of "
            "it is on average: a posterior may pass and still be wrong at single observations."
        )
        if density is None:
            text += f"\n\np(x | y) has no closed form with {app.partition}: no highest density."
        if app.width > 0:
            text += (
                f"\n\nThe data have the width of {app.width:g} of their standard deviation that "
                "training gives them: the posterior is that of such data."
            )
        figures = {
            "ranks": Plot(
                plot_ranks(ranks, self.draws, names),
                "Ranks of the true parameters among their draws. Above zero on the left and below "
                "on the right: draws too narrow; the other way round: too wide; on one side "
                "throughout: shifted.",
            ),
            "levels": Plot(
                plot_coverage(levels),
                "How often credible regions hold the truth. Below the line: regions too small, an "
                "overconfident posterior.",
            ),
            "sharpness": Plot(
                plot_sharpness(sharpness, names),
                "How much narrower than the prior the posterior is, by parameter.",
            ),
        }
        columns = ["check", "statistic", "p", "verdict", "a failure means"]
        return Findings("Coverage", text, metrics, figures, [Table("Checks", columns, checks)])

    def _draw(self, study: Study, y: Tensor) -> np.ndarray:
        step = max(1, ROWS // self.draws)
        return np.concatenate(
            [
                draw_posterior(study, y[start : start + step], self.draws, (STREAM, start))
                for start in track(range(0, len(y), step), "posterior draws")
            ]
        )

    def _levels(
        self, study: Study, truth: Tensor, draws: np.ndarray, y: Tensor, rng: np.random.Generator
    ) -> np.ndarray:
        rows = torch.from_numpy(draws).flatten(0, 1)
        own = log_posterior(study, rows, y.repeat_interleave(self.draws, dim=0))
        return compute_levels(log_posterior(study, truth, y), own.reshape(len(y), -1), rng)


def _of_ranks(p: float, worst: str) -> list[str]:
    means = f"parameter {worst}: draws too narrow, too wide or shifted; see its curve of ranks"
    return ["ranks (SBC)", "-", f"{p:.3g}", _verdict(p >= LEVEL), means]


def _of_levels(name: str, test: LevelTest) -> list[str]:
    means = {
        "highest density": "regions too small (overconfident) or too large, correlations included",
        "TARP": "draws lie elsewhere than the truth does; sees correlations, needs no density",
    }
    verdict = _verdict(test.p_value >= LEVEL)
    return [name, f"gap {test.gap:.3f}", f"{test.p_value:.3g}", verdict, means[name]]


def _of_energy(gain: float, p: float) -> list[str]:
    means = "the draws fit another observation's truth as well: the data are not used"
    cells = ["draws know their observation", f"gain {gain:.3f}", f"{p:.3g}"]
    return [*cells, _verdict(p < LEVEL), means]


def _verdict(passed: bool) -> str:
    return "pass" if passed else "FAIL"
