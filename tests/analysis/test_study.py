import numpy as np
import pytest
import torch

from analysis.flows import flow_study, small_glow
from analysis.gaussian import Gaussian
from analysis.linear import image_study, plane_study
from innflow.analysis import Scores
from innflow.analysis.study import in_batches, to_pixels
from innflow.errors import InnflowError


@pytest.fixture(scope="module")
def study():
    return image_study()


def test_measure_equals_the_application_item_by_item(study):
    measured = study.measure("test")
    x = study.sets["test"].parts["x"]
    np.testing.assert_allclose(measured.log_prob, study.app.log_prob(x).numpy(), rtol=1e-12)
    np.testing.assert_array_equal(measured.latent, study.app.encode(x).numpy())
    np.testing.assert_array_equal(measured.data, x.numpy())
    np.testing.assert_allclose(measured.terms.sum(1), measured.log_prob, rtol=1e-12)
    assert study.measure("test") is measured


def test_train_is_limited_to_a_fixed_choice(study):
    measured, index = study.measure("train"), study.index("train")
    assert len(measured) == len(index) == 300
    assert len(set(index)) == 300
    x = study.sets["train"].parts["x"][torch.from_numpy(index)]
    np.testing.assert_array_equal(measured.data, x.numpy())
    assert study.names("train")[5] == study.sets["train"].names[index[5]]
    np.testing.assert_array_equal(index, image_study().index("train"))


def test_the_test_set_is_split_in_halves_by_the_seed(study):
    halves = np.r_[study.calibration_index, study.test_index]
    assert len(study.calibration_index) == 100
    np.testing.assert_array_equal(np.sort(halves), np.arange(200))
    other = image_study(seed=1)
    assert not np.array_equal(study.calibration_index, other.calibration_index)


def test_large_latents_live_in_a_file(monkeypatch, study):
    monkeypatch.setattr("innflow.analysis.study.IN_MEMORY", 1000)
    other = image_study()
    assert isinstance(other.measure("test").latent, np.memmap)
    np.testing.assert_array_equal(other.measure("test").latent, study.measure("test").latent)


def test_a_log_probability_that_is_not_finite_is_named():
    study = plane_study()
    study.sets["test"].parts["x"][3] = float("nan")
    study._measured.clear()
    with pytest.raises(InnflowError, match=r"set test: .* 1 of 2000 items, the first is test/3"):
        study.measure("test")


def test_sampling_repeats_and_shares_noise_between_temperatures():
    study = plane_study()
    one, half = study.sample(300), study.sample(300, 0.5)
    np.testing.assert_array_equal(one, study.sample(300))
    centre = study.app.bias.numpy()
    np.testing.assert_allclose(half - centre, 0.5 * (one - centre), atol=1e-5)
    assert len(np.unique(one, axis=0)) == 300


def test_batches_are_joined_in_order():
    items = np.arange(1000)
    sizes = []

    def double(x):
        sizes.append(len(x))
        return 2 * x

    np.testing.assert_array_equal(in_batches(double, items, "double", 300), 2 * items)
    assert max(sizes) == 300


def test_pixels_are_rounded_and_clipped():
    x = np.array([-3.0, 0.4, 0.6, 254.6, 400.0])
    np.testing.assert_array_equal(to_pixels(x), np.array([0, 0, 1, 255, 255], dtype=np.uint8))
    with pytest.raises(InnflowError, match="1 pixel values"):
        to_pixels(np.array([np.nan]))


def test_scores_need_a_scorer_before_training():
    study = plane_study()
    study.scorer = None
    with pytest.raises(InnflowError, match="analysis scores: the run has no scores"):
        Scores().check(study)
    with pytest.raises(InnflowError, match="the run has no scores"):
        study.fit_scorer()


def test_a_quick_study_measures_few_items_and_counts_less(study):
    quick = image_study(quick=True)
    assert [len(quick.measure(name)) for name in ("test", "dog")] == [64, 60]
    assert len(quick.calibration_index) == len(quick.test_index) == 32
    assert (quick.count(1000, 10), quick.count(5, 10), study.count(1000, 10)) == (10, 5, 1000)
    assert len(quick.names("test")) == 64


def test_companions_are_measured_with_the_items():
    study = flow_study()
    study.app.companions = {"other": small_glow(seed=1), "same": small_glow()}
    study._measured.clear()
    measured = study.measure("test")
    np.testing.assert_allclose(measured.companions["same"], measured.terms, rtol=1e-5)
    other = study.app.companions["other"].measure(study.sets["test"].parts["x"])
    np.testing.assert_allclose(measured.companions["other"], other.terms.numpy(), rtol=1e-5)


def test_a_conditional_application_has_no_density_of_x():
    study = plane_study()
    study.app = Gaussian()
    with pytest.raises(InnflowError, match="Gaussian has no density of x alone"):
        study.measure("val")
