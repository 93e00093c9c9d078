import numpy as np
import pytest

from innflow.analysis.latent.projection import (
    centre_plane,
    principal_components,
    principal_plane,
    spread_plane,
    total_variance,
)


def fisher(plane, groups):
    points = [plane(group) for group in groups]
    within = np.mean([np.cov(p.T, bias=True) for p in points], axis=0)
    between = np.cov(np.stack([p.mean(0) for p in points]).T, bias=True)
    return np.trace(np.linalg.solve(within, between))


@pytest.mark.parametrize("count", [2, 4])
def test_rotation_spreads_groups_more_than_any_other_plane(count):
    rng = np.random.default_rng(0)
    scale = np.linspace(3, 0.5, 12)
    groups = [rng.normal(size=(200, 12)) * scale + rng.normal(size=12) for _ in range(count)]
    pca = principal_components(np.concatenate(groups), 10, 0)
    plane = spread_plane(pca, groups)
    np.testing.assert_allclose(plane.axes @ plane.axes.T, np.eye(2), atol=1e-8)
    best = fisher(plane, groups)
    for _ in range(200):
        axes = np.linalg.qr(rng.normal(size=(pca.n_components_, 2)))[0].T @ pca.components_
        assert fisher(type(plane)(plane.mean, axes, plane.labels), groups) <= best * 1.01


def test_principal_plane_holds_the_most_variance():
    rng = np.random.default_rng(1)
    latent = rng.normal(size=(500, 6)) * np.array([5, 3, 1, 1, 1, 1])
    plane = principal_plane(principal_components(latent, 2, 0), total_variance(latent))
    np.testing.assert_allclose(plane(latent).var(axis=0), [25, 9], rtol=0.15)
    assert plane.labels[0].startswith("component 1 (6")


def test_centres_lie_in_the_plane_of_three_groups():
    rng = np.random.default_rng(2)
    groups = [rng.normal(size=(30, 8)) + 10 * rng.normal(size=8) for _ in range(3)]
    plane = centre_plane(groups)
    centres = np.stack([group.mean(0) for group in groups])
    flat = plane(centres)
    exact = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    np.testing.assert_allclose(np.linalg.norm(flat[:, None] - flat[None], axis=2), exact)
