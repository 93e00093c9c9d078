import numpy as np
import pytest

from innflow.errors import InnflowError
from innflow.score import (
    BitsPerDim,
    LatentDistance,
    Likelihood,
    Measured,
    Score,
    Scorer,
    Typicality,
)


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
    with pytest.raises(InnflowError, match="one row per item"):
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
def test_state_is_complete(kind):
    score, other = kind(), kind()
    score.fit(measured(100, shift=1.0))
    other.load_state(score.state())
    np.testing.assert_array_equal(score(measured()), other(measured()))


class Shifted(Score):
    """A score of one's own: only `fit` and `__call__`."""

    def fit(self, inliers):
        self.mean_ = inliers.latent.mean(axis=0)
        self.scale_ = inliers.latent.std(dtype=np.float64)

    def __call__(self, items):
        self.check_fitted()
        return np.abs(items.latent - self.mean_).mean(axis=1) / self.scale_


def test_a_score_of_ones_own_is_saved_and_loaded(tmp_path):
    scorer, loaded = (Scorer({"own": Shifted()}, "own") for _ in range(2))
    with pytest.raises(InnflowError, match="Shifted: fit it on training inliers first"):
        scorer.scores["own"](measured())
    scorer.fit(measured(100, shift=2.0), measured(39, seed=1))
    scorer.save(tmp_path / "scorer.npz")
    loaded.load(tmp_path / "scorer.npz")
    items = measured(20, seed=2)
    assert set(loaded.scores["own"].state()) == {"mean_", "scale_"}
    for name, values in scorer(items).items():
        np.testing.assert_array_equal(loaded(items)[name], values)


def test_an_object_that_is_no_score_is_refused():
    with pytest.raises(
        InnflowError, match=r"score own: must be a subclass of innflow\.score\.Score"
    ):
        Scorer({"own": lambda items: items.log_prob}, "own")
