import numpy as np
import pytest

from innflow.errors import InnflowError
from innflow.score import BitsPerDim, LatentDistance, Likelihood, Measured, Typicality


def measured(n=50, seed=0, shift=0.0, dims=6):
    rng = np.random.default_rng(seed)
    latent = rng.normal(shift, 1, size=(n, dims)).astype(np.float32)
    terms = -0.5 * latent.reshape(n, 2, -1).astype(np.float64) ** 2
    terms = terms.sum(axis=2) - 0.25 * dims * np.log(2 * np.pi)
    return Measured(terms.sum(1), terms, np.zeros(n), latent, latent)


def test_measured_slices_every_array():
    whole = measured()
    index = np.array([4, 1, 7])
    part = whole[index]
    assert len(part) == 3
    assert part.dims == whole.dims
    np.testing.assert_array_equal(part.latent, whole.latent[index])
    np.testing.assert_array_equal(part.terms.sum(1), whole.log_prob[index])
    assert len(whole[10:20]) == 10


def test_measured_refuses_arrays_of_other_lengths():
    whole = measured()
    with pytest.raises(InnflowError, match="one row an item"):
        Measured(whole.log_prob[:3], whole.terms, whole.logabsdet, whole.latent, whole.data)


def test_likelihood_and_bits_per_dim_rank_alike():
    items = measured()
    nats, bits = Likelihood()(items), BitsPerDim()(items)
    np.testing.assert_allclose(nats, -items.log_prob)
    np.testing.assert_allclose(bits, nats / 6 / np.log(2))


def test_latent_distance_is_from_the_mean_of_train():
    train, items = measured(400, shift=2.0), measured(1500, seed=1)
    score = LatentDistance()
    score.fit(train)
    expected = np.linalg.norm(items.latent - train.latent.astype(np.float64).mean(0), axis=1)
    np.testing.assert_allclose(score(items), expected)
    with pytest.raises(InnflowError, match="fitted on 6 latent dimensions, given 4"):
        score(measured(dims=4))


def test_typicality_finds_too_likely_items():
    train = measured(500)
    score = Typicality()
    score.fit(train)
    origin = measured(1)
    likely = Measured(np.array([0.0]), np.zeros((1, 2)), np.zeros(1), origin.latent, origin.data)
    assert score(likely)[0] == pytest.approx(-train.log_prob.mean())
    assert score(likely)[0] > np.median(score(train))


@pytest.mark.parametrize("kind", [LatentDistance, Typicality])
def test_a_score_that_learns_must_be_fitted(kind):
    with pytest.raises(InnflowError, match="fit it"):
        kind()(measured())


@pytest.mark.parametrize("kind", [Likelihood, BitsPerDim, LatentDistance, Typicality])
def test_state_carries_all_that_was_learned(kind):
    score, other = kind(), kind()
    score.fit(measured(100, shift=1.0))
    other.load_state(score.state())
    np.testing.assert_array_equal(score(measured()), other(measured()))
