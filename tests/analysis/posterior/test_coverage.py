"""Calibration of a posterior that is exact, and of those that are wrong in known ways."""

import numpy as np
import pytest

from analysis.gaussian import Gaussian, gaussian_study
from innflow.analysis import Coverage
from innflow.config.schema import check
from innflow.errors import InnflowError

RANKS, DENSITY, TARP, KNOWS = (
    "ranks (SBC)",
    "highest density",
    "TARP",
    "draws depend on the observation (energy)",
)


def verdicts(findings):
    return {row[0]: row[3] for row in findings.tables[0].rows}


def cover(app, **settings):
    return Coverage(observations=300, draws=200)(gaussian_study(app, **settings))


def test_an_exact_posterior_passes_every_check():
    findings = cover(Gaussian())
    assert set(verdicts(findings).values()) == {"pass"}
    assert findings.text.startswith("All tests pass")
    assert findings.metrics["posterior/calibration_error"] < 0.03
    assert findings.metrics["posterior/sharpness"] < 0.6
    assert findings.metrics["posterior/energy_gain"] > 0.5
    assert findings.figures.keys() == {"ranks", "levels", "sharpness"}


def test_an_overconfident_posterior_fails():
    findings = cover(Gaussian(factor=0.5))
    assert verdicts(findings) == {RANKS: "FAIL", DENSITY: "FAIL", TARP: "FAIL", KNOWS: "pass"}
    assert findings.text.startswith("FAILED: ranks (SBC), highest density, TARP.")
    assert findings.metrics["posterior/coverage_gap"] > 0.2
    assert findings.metrics["posterior/calibration_error"] > 0.1


def test_a_biased_posterior_fails():
    findings = cover(Gaussian(shift=1.0))
    assert verdicts(findings) == {RANKS: "FAIL", DENSITY: "FAIL", TARP: "FAIL", KNOWS: "pass"}


def test_the_prior_fails_though_its_ranks_are_uniform():
    findings = cover(Gaussian(prior=True))
    assert verdicts(findings)[RANKS] == "pass"
    assert verdicts(findings)[KNOWS] == "FAIL"
    assert findings.metrics["posterior/energy_p"] > 0.01
    assert findings.metrics["posterior/sharpness"] == pytest.approx(1, abs=0.05)


def test_without_density_there_are_no_regions_of_highest_density():
    findings = cover(Gaussian(left=("x", "eps")))
    assert DENSITY not in verdicts(findings)
    assert "posterior/coverage_p" not in findings.metrics
    assert "no closed form" in findings.text


def test_data_without_noise_get_the_width_of_training():
    noiseless, width = np.zeros((2, 2)), 0.05
    given = {"noise": width * 2 * np.eye(2)}  # y_units halves
    findings = cover(Gaussian(**given, width=width), noise=noiseless)
    assert set(verdicts(findings).values()) == {"pass"}
    assert "have Gaussian noise of 0.05" in findings.text
    # The posterior is that of y with noise: taken at y without, the truth is too likely.
    findings = cover(Gaussian(**given), noise=noiseless)
    assert verdicts(findings)[DENSITY] == "FAIL"


def test_few_observations_are_refused_before_training():
    study = gaussian_study()
    study.sets["test"].names = study.sets["test"].names[:10]
    with pytest.raises(InnflowError, match="set test has 10 items, at least 20"):
        Coverage().check(study)
    with pytest.raises(InnflowError, match=r"analysis\.coverage\.draws=3"):
        check({"analysis": {"coverage": {"_target_": "innflow.analysis.Coverage", "draws": 3}}})
