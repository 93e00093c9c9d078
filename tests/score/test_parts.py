"""Scores without a fit: parts of the likelihood, likelihood ratios, classes."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from innflow.errors import InnflowError
from innflow.score import (
    FeatureRatio,
    LatentNorm,
    Likelihood,
    LogDet,
    NearestClass,
    Ratio,
    Scale,
    Waic,
)

from .test_scores import measured


def with_companions(items, **others):
    """Give items companions, each with terms (N, L)."""
    return replace(items, companions=others)


def test_a_scale_is_minus_its_contribution():
    items = measured()
    np.testing.assert_array_equal(Scale()(items), -items.terms[:, 1])
    np.testing.assert_array_equal(Scale(0)(items), -items.terms[:, 0])
    whole = Scale(0)(items) + Scale(1)(items)
    np.testing.assert_allclose(whole, Likelihood()(items))
    assert Scale()(items).dtype == np.float64


@pytest.mark.parametrize("index", [2, -3])
def test_a_scale_that_is_not_there_is_refused(index):
    with pytest.raises(InnflowError, match=rf"Scale\(index={index}\): the flow has 2 scales"):
        Scale(index)(measured())


def test_latent_norm_and_log_det_are_the_two_halves_of_the_likelihood():
    items = measured(3000)  # more than one block
    np.testing.assert_allclose(LatentNorm()(items), -norm.logpdf(items.latent).sum(1), rtol=1e-6)
    moved = replace(items, logabsdet=np.linspace(-3, 3, 3000))
    np.testing.assert_array_equal(LogDet()(moved), -moved.logabsdet)
    np.testing.assert_allclose(LatentNorm()(items), Likelihood()(items), rtol=1e-5)
    assert LatentNorm()(items[:0]).shape == (0,)


def test_the_ratio_is_between_two_models_whole_or_of_one_scale():
    items = measured()
    general = measured(seed=5).terms
    both = with_companions(items, general=general)
    np.testing.assert_allclose(Ratio()(both), general.sum(1) - items.log_prob)
    np.testing.assert_allclose(Ratio(scale=-1)(both), general[:, 1] - items.terms[:, 1])
    np.testing.assert_allclose(
        Ratio(scale=0)(both) + Ratio(scale=1)(both), Ratio()(both), atol=1e-12
    )
    background = with_companions(items, background=general)
    np.testing.assert_array_equal(Ratio("background")(background), Ratio()(both))


@pytest.mark.parametrize(("method", "argument"), [("check", ()), ("__call__", measured())])
def test_a_missing_companion_is_named_with_its_key(method, argument):
    with pytest.raises(InnflowError, match=r"use companions\.general=DIR") as caught:
        getattr(Ratio(), method)(argument)
    assert "\n" not in str(caught.value)
    with pytest.raises(InnflowError, match=r"companions\.second=DIR"):
        getattr(Waic(["second"]), method)(argument)
    with pytest.raises(InnflowError, match=r"no companions: use companions\.NAME=DIR"):
        getattr(Waic(), method)(argument)


def test_a_ratio_of_scales_needs_the_same_scales():
    items = measured()
    other = with_companions(items, general=np.zeros((50, 3)))
    Ratio()(other)
    with pytest.raises(InnflowError, match=r"has 2 scales, its companion general has 3.*=DIR"):
        Ratio(scale=-1)(other)
    with pytest.raises(InnflowError, match=r"Ratio\(scale=2\): the flow has 2 scales"):
        Ratio(scale=2)(with_companions(items, general=items.terms))


def test_waic_is_variance_less_mean_over_the_ensemble():
    items = measured(2)
    items = replace(items, log_prob=np.array([-1.0, -4.0]))
    ensemble = with_companions(items, a=np.array([[-1.0], [-2.0]]), b=np.array([[-1.0], [-6.0]]))
    # Means -1 and -4; squares about them 0, and (0 + 4 + 4) / 2.
    np.testing.assert_allclose(Waic()(ensemble), [1.0, 4.0 + 4.0])
    np.testing.assert_array_equal(Waic(["a", "b"])(ensemble), Waic()(ensemble))
    np.testing.assert_allclose(Waic(["b"])(ensemble), [1.0, 2.0 + 5.0])


def test_the_nearest_class_is_the_likeliest():
    items = replace(measured(2), class_log_prob=np.array([[-3.0, -1.0, -2.0], [-5.0, -9.0, -8.0]]))
    np.testing.assert_array_equal(NearestClass()(items), [1.0, 5.0])
    with pytest.raises(InnflowError, match="has no classes"):
        NearestClass()(measured())


def test_a_feature_ratio_is_that_of_two_normals_of_one_covariance():
    rng = np.random.default_rng(0)
    latents = rng.normal(0.5, 0.3, (50, 4)) @ rng.normal(size=(4, 4))
    inliers = replace(measured(), features=latents.astype(np.float32))
    score = FeatureRatio()
    score.fit(inliers)
    mean, common = latents.mean(axis=0), (np.cov(latents.T, ddof=0) + np.eye(4)) / 2
    zero = multivariate_normal(np.zeros(4), common).logpdf(latents)
    expected = zero - multivariate_normal(mean, common).logpdf(latents)
    found = score(inliers)
    np.testing.assert_allclose(found - found[0], expected - expected[0], rtol=1e-4, atol=1e-4)


def test_a_feature_ratio_needs_features():
    with pytest.raises(InnflowError, match=r"companion features: use companions\.features=DIR"):
        FeatureRatio().check(["general"])
    with pytest.raises(InnflowError, match="the items have no features"):
        FeatureRatio().fit(measured())
