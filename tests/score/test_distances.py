from dataclasses import replace

import numpy as np
import pytest

from innflow.errors import InnflowError
from innflow.score import Mahalanobis, NearestNeighbours

from .test_scores import measured

KINDS = [
    lambda: NearestNeighbours(k=2),
    lambda: NearestNeighbours(k=2, normalise=True),
    lambda: NearestNeighbours(of="latent"),
    lambda: Mahalanobis(components=3),
    lambda: Mahalanobis(components=None, of="latent"),
]


def of(data):
    items = measured(len(data))
    return replace(items, data=np.asarray(data))


def test_neighbours_are_the_mean_of_the_k_nearest():
    score = NearestNeighbours(k=2)
    score.fit(of([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]]))
    np.testing.assert_allclose(score(of([[0.0, 0.0], [3.0, 4.0]])), [0.5, (0 + np.sqrt(18)) / 2])


@pytest.mark.parametrize("dims", [4, 40])
def test_neighbours_equal_brute_force_on_images(dims):
    rng = np.random.default_rng(0)
    train, items = (rng.integers(0, 256, (n, 1, 2, dims)).astype(np.uint8) for n in (90, 30))
    score = NearestNeighbours(k=4)
    score.fit(of(train))
    flat = [x.reshape(len(x), -1).astype(float) for x in (train, items)]
    distances = np.linalg.norm(flat[1][:, None] - flat[0][None], axis=2)
    exact = np.sort(distances, axis=1)[:, :4].mean(axis=1)
    np.testing.assert_allclose(score(of(items)), exact, rtol=1e-5)


def test_normalised_neighbours_depend_on_the_direction_only():
    score = NearestNeighbours(k=1, normalise=True)
    score.fit(of([[2.0, 0.0], [0.0, 5.0]]))
    found = score(of([[7.0, 0.0], [0.1, 0.1], [0.0, 0.0]]))
    np.testing.assert_allclose(found, [0, np.sqrt(2 - np.sqrt(2)), 1], atol=1e-6)


def test_mahalanobis_is_the_distance_by_the_inverse_covariance():
    rng = np.random.default_rng(1)
    mixing = rng.normal(size=(5, 5)) * [1, 10, 100, 0.1, 1]
    train, items = rng.normal(size=(200, 5)) @ mixing + 7, rng.normal(size=(30, 5)) @ mixing
    score = Mahalanobis(components=None)
    score.fit(of(train))
    away = items - train.mean(0)
    exact = np.sqrt(np.einsum("ni,ij,nj->n", away, np.linalg.inv(np.cov(train.T)), away))
    np.testing.assert_allclose(score(of(items)), exact, rtol=1e-2)


def test_directions_outside_the_components_do_not_count():
    rng = np.random.default_rng(2)
    train = rng.normal(size=(100, 3)) * [9, 5, 0.01]
    score = Mahalanobis(components=2)
    score.fit(of(train))
    beside, along = train.mean(0) + np.array([[0, 0, 50], [0, 50, 0]])
    assert score(of([beside]))[0] < 1
    assert score(of([along]))[0] == pytest.approx(10, rel=0.1)


def test_constant_columns_add_nothing():
    rng = np.random.default_rng(3)
    train = rng.normal(size=(60, 4)).astype(np.float32)
    train[:, 2] = 3.0
    score, less = Mahalanobis(components=None), Mahalanobis(components=None)
    score.fit(of(train))
    less.fit(of(np.delete(train, 2, axis=1)))
    np.testing.assert_allclose(
        score(of(train[:9])), less(of(np.delete(train[:9], 2, 1))), rtol=1e-4
    )
    with pytest.raises(InnflowError, match="all training items are equal"):
        Mahalanobis(None).fit(of(np.ones((9, 3))))


@pytest.mark.parametrize("make", KINDS)
def test_far_items_have_higher_scores_and_the_state_is_complete(make):
    score, other = make(), make()
    # About the origin lie all directions, far from it nearly one: the other way round.
    inside, outside = (4.0, 0.0) if getattr(score, "normalise", False) else (0.0, 4.0)
    score.fit(measured(100, shift=inside))
    near, far = measured(40, seed=1, shift=inside), measured(40, seed=2, shift=outside)
    assert np.median(score(far)) > np.quantile(score(near), 0.95)
    other.load_state(score.state())
    np.testing.assert_array_equal(score(near), other(near))
    assert all(np.asarray(array).dtype == np.float32 for array in score.state().values())
    assert score(near[:0]).shape == (0,)


@pytest.mark.parametrize("make", KINDS)
def test_unfitted_and_of_other_dimensions_are_refused(make):
    score = make()
    with pytest.raises(InnflowError, match="fit it on training inliers"):
        score(measured())
    score.fit(measured())
    with pytest.raises(InnflowError, match="fitted on 6 dimensions, given 4"):
        score(measured(dims=4))


def test_invalid_settings_are_refused(monkeypatch):
    with pytest.raises(InnflowError, match="k=0: must be at least 1"):
        NearestNeighbours(k=0)
    with pytest.raises(InnflowError, match="k=5, but 4 training items"):
        NearestNeighbours(k=5).fit(measured(4))
    with pytest.raises(InnflowError, match="components=0: must be at least 1"):
        Mahalanobis(components=0)
    with pytest.raises(InnflowError, match=r"components=7, .* have at most 6"):
        Mahalanobis(components=7).fit(measured())
    with pytest.raises(InnflowError, match="of=pixels: must be data or latent"):
        Mahalanobis(components=2, of="pixels").fit(measured())
    monkeypatch.setattr("innflow.score.distance.LARGEST", 50 * 6 * 4 - 1)
    for of_ in ("data", "latent"):
        with pytest.raises(InnflowError, match=r"lower study\.train_limit"):
            NearestNeighbours(of=of_).fit(measured(50))
