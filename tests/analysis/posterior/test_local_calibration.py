"""The local test of exact and of wrong posteriors, and its file in the run folder."""

import numpy as np
import pytest
import torch

from analysis.gaussian import Gaussian, gaussian_study
from innflow.analysis import LocalCalibration
from innflow.analysis.posterior.local_calibration import FILE, read_local_test, standardize


def test_an_exact_posterior_passes_at_every_observation():
    findings = LocalCalibration(observations=4)(gaussian_study(Gaussian()))
    assert findings.metrics["posterior/lc2st_p"] > 0.01
    assert findings.text.startswith("All tests pass.")
    assert [row[0] for row in findings.tables[0].rows] == [f"test/{i}" for i in range(4)]


@pytest.mark.parametrize("wrong", [{"factor": 0.5}, {"shift": 1.0}])
def test_a_wrong_posterior_fails(wrong):
    findings = LocalCalibration(observations=4)(gaussian_study(Gaussian(**wrong)))
    assert findings.metrics["posterior/lc2st_p"] < 0.01
    assert findings.text.startswith("FAILED at ")


def test_the_simulations_in_the_run_folder_give_the_same_test(tmp_path, refused):
    app = Gaussian(shift=0.2)
    study = gaussian_study(app, run_dir=tmp_path)
    assert read_local_test(app, tmp_path, 0) is None
    findings = LocalCalibration(observations=2)(study)
    test = read_local_test(app, tmp_path, 0)
    y = standardize(app, study.sets["test"].parts["y"][:2])
    found = [f"{test(one):.3g}" for one in y]
    assert found == [row[1] for row in findings.tables[0].rows]
    (tmp_path / FILE).write_bytes(b"no archive")
    with refused(f"{tmp_path / FILE}: damaged"):
        read_local_test(app, tmp_path, 0)
    np.savez(tmp_path / FILE, x=np.zeros((30, 3), np.float32))
    with refused("damaged, or not of this run"):
        read_local_test(app, tmp_path, 0)


def test_noise_on_the_left_is_encoded_too(tmp_path):
    class Noisy(Gaussian):
        def encode(self, x, y, eps=None):
            assert eps is not None
            return super().encode(x, y)

    study = gaussian_study(Noisy(left=("x", "eps")), run_dir=tmp_path)
    LocalCalibration(observations=2)(study)
    with np.load(tmp_path / FILE) as held:
        assert torch.equal(torch.from_numpy(held["eps"]), study.sets["test"].parts["eps"][2:])


def test_too_few_items_are_refused(refused):
    with refused("analysis local: set test has 500 items, at least 520 are needed"):
        LocalCalibration(observations=500).check(gaussian_study(Gaussian()))
