import math

import numpy as np
import pytest

from innflow.errors import InnflowError
from innflow.metric import bits_per_dim, kl_divergence


def test_bits_per_dim_of_uniform_images_is_eight():
    dims = 3 * 4 * 4
    log_prob = np.full(5, -dims * math.log(256))
    np.testing.assert_allclose(bits_per_dim(log_prob, dims), 8.0)


def test_kl_of_two_gaussians_is_within_its_standard_error():
    mean, scale = 0.7, 1.4
    exact = math.log(scale) + (1 + mean**2) / (2 * scale**2) - 0.5
    x = np.random.default_rng(0).normal(size=40_000)
    log_p = -0.5 * x**2 - 0.5 * math.log(2 * math.pi)
    log_q = -0.5 * ((x - mean) / scale) ** 2 - 0.5 * math.log(2 * math.pi) - math.log(scale)
    kl, error = kl_divergence(log_p, log_q)
    assert abs(kl - exact) < 3 * error
    assert error == pytest.approx(np.std(log_p - log_q, ddof=1) / 200)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_kl_refuses_what_is_not_finite(bad):
    with pytest.raises(InnflowError, match="not finite for 1 of 3"):
        kl_divergence([0.0, 1.0, 2.0], [0.0, bad, 1.0])
