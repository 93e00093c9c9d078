"""Posteriors against an exact one: right, wrong in known ways, and with less to compare with."""

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import cross_val_score
from tiny import train

from analysis.gaussian import Gaussian, Problem, gaussian_study
from analysis.linear import plane_study
from innflow.analysis import Posterior
from innflow.analysis.posterior.references import FOLDER
from innflow.config.schema import check
from innflow.data.simulation.inverse_data import InverseData
from innflow.data.simulation.support import Support
from innflow.errors import InnflowError
from innflow.metric import compute_err_post

SMALL = {"observations": 2, "draws": 300, "err_observations": 4, "err_draws": 500, "shown": 1}
# Two steps of everything on a problem whose forward model is random itself.
TINY_MOONS = (
    *("data=two_moons", "app=inverse", "partition=given_y", "model=spline", "latent=observed"),
    *("score=none", "analysis=posterior", "+debug=fdr", "study.quick=false"),
    *("data.n=400", "data.n_test=60"),
    *("analysis.posterior.observations=1", "analysis.posterior.draws=100"),
    *("analysis.posterior.err_observations=3", "analysis.posterior.err_draws=100"),
    *("analysis.coverage.observations=40", "analysis.coverage.draws=50", "model.depth=2"),
)


def compute_quick_c2st(draws, reference, seed, folds, jobs):
    """Stand in for the classifier of the benchmark, which takes seconds: a linear one."""
    rows = np.concatenate([reference, draws])
    side = np.repeat([0, 1], len(draws))
    order = np.random.default_rng(seed).permutation(len(rows))
    return float(cross_val_score(LinearDiscriminantAnalysis(), rows[order], side[order]).mean())


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("innflow.analysis.posterior.observations.compute_c2st", compute_quick_c2st)


@pytest.fixture(scope="module")
def exact():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("innflow.analysis.posterior.observations.compute_c2st", compute_quick_c2st)
        return Posterior(**SMALL)(gaussian_study())


def test_no_comparison_separates_an_exact_posterior_from_the_reference(exact):
    metrics = exact.metrics
    assert abs(metrics["posterior/c2st"] - 0.5) < 0.06
    assert abs(metrics["posterior/c2st_floor"] - 0.5) < 0.06
    assert metrics["posterior/err_post_median"] < 2 * metrics["posterior/err_post_floor"]
    assert metrics["posterior/err_post_prior"] > 20 * metrics["posterior/err_post_floor"]
    assert metrics["posterior/mean_error"] < 2 * metrics["posterior/mean_error_floor"]
    assert metrics["posterior/covariance_error"] < 2 * metrics["posterior/covariance_error_floor"]
    own, reference = (metrics[f"posterior/err_resim_{key}"] for key in ("median", "reference"))
    assert own == pytest.approx(reference, rel=0.25)
    assert metrics["posterior/outside"] == 0


def test_nltp_is_the_mean_log_density_of_the_truth(exact):
    study = gaussian_study()
    test = study.sets["test"].parts
    direct = -study.app.log_prob(test["x"], test["y"]).double().mean()
    assert exact.metrics["posterior/nltp"] == pytest.approx(float(direct), rel=1e-6)


def test_one_observation_is_drawn_and_two_are_listed(exact):
    assert exact.figures.keys() == {"observation_0", "resimulation_0"}
    assert [row[0] for row in exact.tables[1].rows] == ["test/0", "test/1"]
    assert "-" not in exact.tables[1].rows[0]


def test_the_table_shows_exact_draws_and_draws_of_the_prior_beside_the_model(exact):
    table = exact.tables[0]
    (row,) = [cells for cells in table.rows if cells[0] == "Err_post"]
    row = dict(zip(table.columns, row, strict=True))
    keys = {"median": "median", "mean": "mean"}
    keys |= {f"median of {key} draws": name for key, name in (("exact", "floor"), ("prior",) * 2)}
    for column, key in keys.items():
        assert row[column] == f"{exact.metrics[f'posterior/err_post_{key}']:.3g}"
    assert "standard deviations of the prior" in row["meaning"]


def test_every_comparison_detects_a_shifted_posterior(quick):
    metrics = Posterior(**SMALL)(gaussian_study(Gaussian(shift=1.0))).metrics
    assert metrics["posterior/c2st"] > 0.7
    assert metrics["posterior/err_post_median"] > 10 * metrics["posterior/err_post_floor"]
    assert metrics["posterior/mean_error"] == pytest.approx(1, abs=0.3)


def test_a_narrow_posterior_has_another_covariance(quick):
    settings = {**SMALL, "observations": 1, "err_observations": 1, "moment_draws": 20_000}
    metrics = Posterior(**settings)(gaussian_study(Gaussian(factor=0.9))).metrics
    assert metrics["posterior/covariance_error"] == pytest.approx(1 - 0.9**2, abs=0.03)
    assert metrics["posterior/covariance_error_floor"] < 0.03
    assert metrics["posterior/mean_error"] < 2.5 * metrics["posterior/mean_error_floor"]
    assert metrics["posterior/mean_error_floor"] < 0.02


@pytest.mark.parametrize("standardise", [True, False])
def test_err_post_is_in_standard_deviations_of_the_prior_or_in_raw_units(quick, standardise):
    study, settings = gaussian_study(), {**SMALL, "observations": 1, "err_observations": 1}
    app, data = study.app, study.data
    data.reference = lambda y, n, seed: np.random.default_rng(0).normal(size=(n, 3))
    app.posterior = lambda y, n, seed: torch.ones(len(y), n, 3)
    metrics = Posterior(**settings, standardise=standardise)(study).metrics
    unit = study.sets["train"].parts["x"].std(dim=0).numpy() if standardise else None
    expected = compute_err_post(np.ones((500, 3)), data.reference(None, 500, 0), unit)
    assert metrics["posterior/err_post_median"] == pytest.approx(expected, rel=1e-4)


def test_pairs_without_model_give_what_can_be_had():
    data = Problem()
    known = type("Known", (InverseData,), {"columns": data.columns})((3,))
    known.support = data.support
    findings = Posterior(**SMALL)(gaussian_study(data=known))
    assert findings.metrics.keys() == {"posterior/nltp", "posterior/outside"}
    assert "no reference" in findings.text
    assert "no forward model" in findings.text
    assert findings.figures.keys() == {"observation_0"}


def test_noise_beside_x_leaves_no_density(quick):
    settings = {**SMALL, "observations": 1}
    findings = Posterior(**settings)(gaussian_study(Gaussian(left=("x", "eps"))))
    assert "posterior/nltp" not in findings.metrics
    assert "no closed form" in findings.text


def test_reference_draws_are_kept_in_the_run_folder(tmp_path, quick):
    settings = {**SMALL, "observations": 1}
    first = gaussian_study(run_dir=tmp_path)
    metrics = Posterior(**settings)(first).metrics
    assert first.data.asked == len(list((tmp_path / FOLDER).iterdir())) == 8
    again = gaussian_study(run_dir=tmp_path)
    assert Posterior(**settings)(again).metrics == metrics
    assert again.data.asked == 0
    other = gaussian_study(run_dir=tmp_path, seed=1)
    Posterior(**settings)(other)
    assert other.data.asked == 8


def test_an_observation_that_the_reference_cannot_do_is_left_out(quick):
    study = gaussian_study()
    draw, hard = study.data.reference, study.sets["test"].parts["y"][0].numpy()

    def reference(y, n, seed):
        if (y == hard).all():
            raise InnflowError("posterior: y is all but impossible")
        return draw(y, n, seed)

    study.data.reference = reference
    analysis = Posterior(**SMALL)
    analysis.check(study)
    findings = analysis(study)
    assert "no draws for 1 of 4 observations" in findings.text
    assert "all but impossible" in findings.text
    assert findings.tables[1].rows[0][1:3] == ["-", "-"]


def test_a_reference_that_always_fails_is_refused_before_training():
    study = gaussian_study()

    def reference(y, n, seed):
        raise InnflowError("data.reference=own.posterior: raises NameError")

    study.data.reference = reference
    with pytest.raises(InnflowError, match="raises NameError"):
        Posterior().check(study)


def test_draws_that_the_forward_model_cannot_do_are_counted(quick):
    study = gaussian_study()
    forward = study.data.forward
    study.data.forward = lambda x: torch.where(x[:, :1] > 1, float("nan"), forward(x))
    findings = Posterior(**{**SMALL, "observations": 1})(study)
    assert "no finite data for" in findings.text
    assert np.isfinite(findings.metrics["posterior/err_resim_mean"])


def test_a_forward_model_with_noise_of_its_own_is_compared_with_the_reference(quick):
    study = gaussian_study(data=Problem(noise=False))
    findings = Posterior(**{**SMALL, "observations": 1})(study)
    assert "forward model is random" in findings.text
    own, reference = (
        findings.metrics[f"posterior/err_resim_{key}"] for key in ("median", "reference")
    )
    assert own == pytest.approx(reference, rel=0.25)
    assert own > 0.3  # twice the noise


def test_draws_outside_the_support_are_counted(quick):
    study = gaussian_study()
    study.data.support = Support(torch.zeros(3), torch.full((3,), 9.0), torch.zeros(3).bool())
    findings = Posterior(**{**SMALL, "observations": 1})(study)
    assert findings.metrics["posterior/outside"] > 0.1


@pytest.mark.parametrize(("key", "value"), [("draws", 0), ("observations", 1.5), ("shown", -1)])
def test_a_bad_setting_is_refused_with_the_config(key, value):
    node = {"_target_": "innflow.analysis.Posterior", key: value}
    with pytest.raises(InnflowError, match=rf"analysis\.posterior\.{key}={value}"):
        check({"analysis": {"posterior": node}})


def test_an_application_without_posterior_is_refused():
    with pytest.raises(InnflowError, match="has no posterior: choose app=inverse"):
        Posterior().check(plane_study())


@pytest.mark.extended  # experiments go through it as well
def test_a_real_run_goes_through_the_whole_group(tmp_path):
    run_dir = tmp_path / "run"
    metrics = train(run_dir, *TINY_MOONS, f"data.cache_dir={tmp_path / 'cache'}")
    expected = {"c2st", "err_post_median", "err_resim_reference", "nltp", "mean_error", "outside"}
    expected |= {"sbc_p", "coverage_p", "tarp_p", "sharpness", "energy_p", "calibration_error"}
    assert {f"posterior/{key}" for key in expected} <= metrics.keys()
    assert {"latent/normal_p", "latent/independence_p"} <= metrics.keys()
    assert metrics["posterior/outside"] == 0
    assert (run_dir / "figures" / "posterior_observation_0.png").is_file()
    assert (run_dir / "figures" / "coverage_ranks.png").is_file()
    assert len(list((run_dir / FOLDER).glob("*.npz"))) == 6
