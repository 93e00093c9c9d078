from __future__ import annotations

import math

import pytest
import torch
from torch import distributions

from innflow import Latent
from innflow.latent.density import StandardNormal
from innflow.latent.mixture import ClassMixture, OneHot, spread_means

CLASSES, FEATURES = 3, 2


def built(mixture: ClassMixture, features: int = FEATURES) -> ClassMixture:
    mixture.build(features)
    return mixture


@pytest.fixture
def mixture() -> ClassMixture:
    """Return a mixture of other means, widths and class prior than at the start."""
    mixture = built(ClassMixture(CLASSES, learned_prior=True)).double()
    with torch.no_grad():
        mixture.means += torch.randn(CLASSES, FEATURES)
        mixture.log_scales += 0.3 * torch.randn(CLASSES, FEATURES)
        mixture.prior_logits += torch.tensor([0.0, 1.0, -0.5])
    return mixture


def exact(mixture: ClassMixture) -> distributions.MixtureSameFamily:
    weights = distributions.Categorical(logits=mixture.prior_logits.detach())
    normal = distributions.Normal(mixture.means.detach(), mixture.log_scales.detach().exp())
    return distributions.MixtureSameFamily(weights, distributions.Independent(normal, 1))


def test_densities_are_those_of_torch(mixture):
    y = 3 * torch.randn(7, FEATURES, dtype=torch.float64)
    law = exact(mixture)
    by_class = law.component_distribution.log_prob(y[:, None])
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0])
    torch.testing.assert_close(mixture.class_log_prob(y), by_class)
    torch.testing.assert_close(mixture.log_prob(y), law.log_prob(y))
    chosen = by_class[torch.arange(7), labels]
    torch.testing.assert_close(mixture.log_prob(y, labels), chosen)


def test_draws_of_a_class_have_its_mean_and_width(mixture):
    label = torch.full((40_000,), 1)
    drawn = mixture.sample(torch.empty(40_000, FEATURES, dtype=torch.float64), target=label)
    width = mixture.log_scales[1].exp()
    assert ((drawn.mean(dim=0) - mixture.means[1]).abs() < 0.03 * width).all()
    torch.testing.assert_close(drawn.std(dim=0), width.detach(), rtol=0.02, atol=0)


def test_draws_without_a_label_follow_the_prior(mixture):
    drawn = mixture.sample(torch.empty(20_000, FEATURES, dtype=torch.float64), temperature=0.0)
    share = [(drawn == mean).all(dim=1).double().mean() for mean in mixture.means]
    torch.testing.assert_close(
        torch.stack(share), mixture.log_prior.detach().exp(), rtol=0, atol=0.02
    )


def test_a_generator_makes_samples_reproducible(mixture):
    like = torch.empty(5, FEATURES, dtype=torch.float64)
    first, second = (mixture.sample(like, 1.0, torch.Generator().manual_seed(3)) for _ in range(2))
    other = mixture.sample(like, 1.0, torch.Generator().manual_seed(4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_transfer_keeps_the_place_within_the_class(mixture):
    y = torch.randn(6, FEATURES, dtype=torch.float64)
    label, target = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([1, 2, 0, 2, 0, 1])
    moved = mixture.transfer(y, label, target)
    widths = mixture.log_scales.exp()
    torch.testing.assert_close(
        (moved - mixture.means[target]) / widths[target], (y - mixture.means[label]) / widths[label]
    )
    torch.testing.assert_close(mixture.transfer(moved, target, label), y)
    torch.testing.assert_close(mixture.transfer(y, label, label), y)


def test_the_prior_is_uniform_unless_it_is_learned():
    y = torch.randn(5, FEATURES)
    for learned in (False, True):
        mixture = built(ClassMixture(CLASSES, learned_prior=learned))
        torch.testing.assert_close(mixture.log_prior, torch.full((CLASSES,), -math.log(CLASSES)))
        mixture.log_prob(y).mean().backward()
        assert (mixture.prior_logits.grad is not None) == learned
        assert mixture.means.grad.abs().sum() > 0
        assert mixture.log_scales.grad.abs().sum() > 0


@pytest.mark.parametrize(("classes", "features"), [(5, 1), (8, 2), (3, 3), (10, 16), (10, 4)])
def test_means_start_at_the_separation_from_their_nearest_neighbours(classes, features):
    distance = torch.pdist(spread_means(classes, features, 5.0))
    assert float(distance.min()) == pytest.approx(5.0, rel=1e-5)
    if features >= classes:  # all equally far apart
        assert float(distance.max()) == pytest.approx(5.0, rel=1e-5)


def test_the_start_scales_with_the_width():
    mixture = built(ClassMixture(CLASSES, separation=4.0, sigma=0.5))
    assert float(torch.pdist(mixture.means.detach()).min()) == pytest.approx(2.0)
    torch.testing.assert_close(mixture.log_scales.detach().exp(), torch.full((3, 2), 0.5))


def test_one_hot_classes_are_fixed_around_the_unit_vectors():
    mixture = built(OneHot(4, sigma=0.2), features=4)
    assert torch.equal(mixture.means, torch.eye(4))
    assert not [p for p in mixture.parameters() if p.requires_grad]
    y = torch.randn(3, 4)
    law = distributions.Normal(torch.eye(4), 0.2)
    torch.testing.assert_close(mixture.class_log_prob(y), law.log_prob(y[:, None]).sum(dim=2))


def test_one_hot_needs_a_feature_for_each_class(refused):
    with refused("one-hot labels of 4 classes", "not 3", "partition.right.y=4"):
        OneHot(4).build(3)


@pytest.mark.parametrize("wrong", [{"classes": 0}, {"separation": 0.0}, {"sigma": -1.0}])
def test_invalid_settings_are_refused(wrong, refused):
    with refused("latent: classes=", "there must be at least one class"):
        ClassMixture(**{"classes": 3, **wrong})


def test_a_latent_builds_it_for_the_size_of_its_part():
    latent = Latent({"z": StandardNormal(), "y": ClassMixture(CLASSES)})
    latent.build({"z": (4,), "y": (6,)})
    assert latent["y"].means.shape == (CLASSES, 6)
    assert sum(p.numel() for p in latent.parameters()) == 2 * 6 * CLASSES + CLASSES
