"""Tempered particles on posteriors that are bent, narrow and of two parts."""

from __future__ import annotations

import numpy as np
from scipy.integrate import quad

from innflow.problem.sampler.tempering import draw_tempered


def test_bent_and_narrow():
    """On w2 = w1^2 + 0.05 noise the marginal of w1 is known but for its constant."""
    w = draw_tempered(
        lambda w: -(((w[:, 1] - w[:, 0] ** 2 + 1) / 0.05) ** 2) / 2,
        3,
        4000,
        np.random.default_rng(0),
    )

    def moment(power):
        variance = 1 + 0.05**2
        return quad(
            lambda a: a**power * np.exp(-(a**2) / 2 - (a**2 - 1) ** 2 / variance / 2), -6, 6
        )[0]

    second, fourth = moment(2) / moment(0), moment(4) / moment(0)
    assert abs((w[:, 0] ** 2).mean() - second) < 5 * np.sqrt((fourth - second**2) / 2000)
    assert abs((w[:, 0] > 0).mean() - 0.5) < 0.05
    assert abs(w[:, 2].mean()) < 0.08
    assert abs(w[:, 2].std() - 1) < 0.06
    assert abs((w[:, 1] - w[:, 0] ** 2 + 1).std() / 0.05 - 1) < 0.06
    assert len(np.unique(w[:, 0])) > 3900


def test_gaussian_far_from_the_prior():
    w = draw_tempered(
        lambda w: -(((w - 4) / 0.1) ** 2).sum(axis=1) / 2, 2, 2000, np.random.default_rng(0)
    )
    np.testing.assert_allclose(w.mean(axis=0), 4 / 1.01, atol=0.015)
    np.testing.assert_allclose(w.std(axis=0), 0.1 / np.sqrt(1.01), rtol=0.1)


def test_flat_likelihood_gives_the_prior():
    w = draw_tempered(lambda w: np.zeros(len(w)), 2, 4000, np.random.default_rng(0))
    np.testing.assert_allclose(np.cov(w.T), np.eye(2), atol=0.1)
