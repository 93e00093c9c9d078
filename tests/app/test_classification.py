from __future__ import annotations

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from flow.zoo import perturb
from torch import distributions

from innflow import Latent, Partition, flow
from innflow.app import Classification
from innflow.data.base import PartsDataModule, PartsSet
from innflow.flow import ActNorm, CouplingFlow
from innflow.latent.density import StandardNormal
from innflow.latent.mixture import ClassMixture, OneHot
from innflow.objective.classification import information_bottleneck

CLASSES = 3


def build(
    made: CouplingFlow, y: int, mixture: ClassMixture | None = None, **settings
) -> Classification:
    left = {"x": made.shape}
    rest = made.features - y
    right = {"z": (rest,), "y": (y,)} if rest > 0 else {"y": (y,)}
    latent = Latent({"z": StandardNormal(), "y": mixture or ClassMixture(CLASSES)})
    return Classification(made, Partition(left, right), latent, **settings)


def identity(features: int) -> CouplingFlow:
    """Return a flow of one ActNorm, the identity until it is initialised."""
    return CouplingFlow((features,), [ActNorm(features)], [(features,)])


def vectors() -> Classification:
    app = build(flow.vector(5, depth=3, hidden=(8,), coupling="spline"), y=2)
    perturb(app)
    return app


def images() -> Classification:
    """Return an application whose class part is on both scales; the deepest has 16 features."""
    app = build(flow.glow((3, 4, 4), levels=2, depth=2, hidden=4), y=20)
    perturb(app)
    return app


def items(app: Classification, n: int = 6) -> torch.Tensor:
    if len(app.shape) == 3:
        return torch.randint(0, 256, (n, *app.shape), dtype=torch.uint8)
    return torch.randn(n, *app.shape)


@pytest.fixture(params=[vectors, images], ids=["vectors", "images"])
def app(request) -> Classification:
    return request.param()


def test_under_the_identity_all_densities_are_those_of_torch():
    app = build(identity(3), y=2, mixture=ClassMixture(CLASSES, learned_prior=True)).double()
    perturb(app.latent)
    x = 2 * torch.randn(9, 3, dtype=torch.float64)
    mixture = app.mixture
    normal = distributions.Normal(mixture.means.detach(), mixture.log_scales.detach().exp())
    prior = distributions.Categorical(logits=mixture.prior_logits.detach())
    y = distributions.MixtureSameFamily(prior, distributions.Independent(normal, 1))
    z = distributions.Normal(0.0, 1.0).log_prob(x[:, 0])
    joint = z[:, None] + y.component_distribution.log_prob(x[:, None, 1:])
    torch.testing.assert_close(app.class_log_prob(x), joint)
    torch.testing.assert_close(app.log_prob(x), z + y.log_prob(x[:, 1:]))
    torch.testing.assert_close(app.classify(x), (joint + prior.logits).softmax(dim=1))


def test_bayes_rule(app):
    x = items(app)
    by_class = app.class_log_prob(x)
    assert by_class.shape == (6, CLASSES)
    prior = app.mixture.log_prior.detach()
    total = (by_class + prior).logsumexp(dim=1)
    torch.testing.assert_close(total, app.log_prob(x), rtol=1e-5, atol=1e-4)
    p = app.classify(x)
    torch.testing.assert_close(p.sum(dim=1), torch.ones(6))
    wanted = (by_class + prior - total[:, None]).exp()
    torch.testing.assert_close(p, wanted, rtol=1e-3, atol=1e-4)


def test_the_density_of_each_class_integrates_to_one():
    app = build(flow.vector(2, depth=2, hidden=(8,), coupling="spline"), y=2)
    perturb(app)
    axis = torch.linspace(-15, 15, 400)
    cells = (axis[1] - axis[0]) ** 2
    densities = app.class_log_prob(torch.cartesian_prod(axis, axis)).double().exp()
    torch.testing.assert_close(
        (densities.sum(dim=0) * cells).float(), torch.ones(3), atol=2e-3, rtol=0
    )


def test_measured_terms_sum_to_the_density_of_any_class(app):
    x = items(app)
    measured = app.measure(x)
    torch.testing.assert_close(measured.log_prob, app.log_prob(x), rtol=1e-6, atol=1e-3)
    torch.testing.assert_close(measured.terms.sum(dim=1), measured.log_prob)
    assert measured.terms.shape == (6, len(app.flow.latent_shapes))
    assert torch.equal(measured.latent, app.encode(x))


def test_a_counterfactual_of_the_own_class_is_the_item_itself(app):
    x, label = items(app), torch.tensor([0, 1, 2, 0, 1, 2])
    atol = 0.02 if x.dtype == torch.uint8 else 1e-4
    torch.testing.assert_close(app.counterfactual(x, label, label), x.float(), rtol=0, atol=atol)


def test_a_counterfactual_changes_the_class_part_only_and_is_invertible(app):
    x = items(app)
    moved = app.counterfactual(x, 0, 2)
    before, after = (app.partition.split("right", app.encode(v)) for v in (x, moved))
    torch.testing.assert_close(after["z"], before["z"], rtol=1e-3, atol=1e-3)
    wanted = app.mixture.transfer(before["y"], torch.zeros(6).long(), torch.full((6,), 2))
    torch.testing.assert_close(after["y"], wanted.detach(), rtol=1e-3, atol=1e-3)
    assert (moved - x).abs().max() > 0.1
    atol = 0.2 if x.dtype == torch.uint8 else 1e-3
    torch.testing.assert_close(app.counterfactual(moved, 2, 0), x.float(), rtol=0, atol=atol)


def test_class_means_encode_to_the_means_and_zero_z(app):
    means = app.class_means()
    assert means.shape == (CLASSES, *app.shape)
    parts = app.partition.split("right", app.encode(means))
    torch.testing.assert_close(parts["y"], app.mixture.means.detach(), rtol=1e-3, atol=1e-3)
    assert parts["z"].abs().max() < 1e-3


def test_samples_of_a_class_have_its_latent_distribution():
    app = vectors()
    labels = torch.arange(600) % CLASSES
    y = app.partition.split("right", app.encode(app.sample(600, seed=0, label=labels)))["y"]
    standard = (y - app.mixture.means[labels]) / app.mixture.log_scales[labels].exp()
    assert standard.mean().abs() < 0.1
    assert abs(float(standard.detach().std()) - 1) < 0.1
    one = app.sample(4, seed=0, label=1)
    assert torch.equal(one, app.sample(4, seed=0, label=torch.ones(4).long()))
    assert not torch.equal(one, app.sample(4, seed=0, label=2))
    assert torch.equal(app.sample(4, seed=0), app.sample(4, seed=0))


def test_noise_of_a_seed_repeats_and_differs_from_the_bin_centre():
    app = images()
    x = items(app)
    first = app.class_log_prob(x, noise_seed=1)
    torch.randn(5)
    assert torch.equal(app.class_log_prob(x, noise_seed=1), first)
    assert not torch.equal(app.class_log_prob(x, noise_seed=2), first)
    assert not torch.equal(app.class_log_prob(x), first)
    torch.testing.assert_close(app.classify(x, noise_seed=1).sum(dim=1), torch.ones(6))


def test_images_of_fewer_grey_levels():
    app = build(flow.flat((1, 2, 2), depth=2, hidden=(8,)), y=2, levels=17)
    perturb(app)
    x = torch.randint(0, 17, (5, 1, 2, 2), dtype=torch.uint8)
    torch.testing.assert_close(app.decode(app.encode(x)), x.float(), rtol=0, atol=1e-3)
    assert app.sample(200, seed=0).max() <= 16
    assert app.log_volume == pytest.approx(4 * math.log(17))


def test_a_padded_flow_bounds_the_density_from_below():
    """Averaged over the padding, p(x, pad) / q(pad) is p(x), which integrates to one."""
    padded = flow.vector(2, depth=2, hidden=(8,))
    partition = Partition({"x": (1,)}, {"y": (2,)})
    assert partition.left == {"x": (1,), "pad": (1,)}
    latent = Latent({"y": OneHot(2, sigma=0.5)}, pad_sigma=1.0)
    app = Classification(padded, partition, latent)
    perturb(app, size=0.5)
    x = torch.linspace(-8, 8, 161)[:, None]
    draws = torch.stack([app.log_prob(x, noise_seed=seed) for seed in range(200)]).double()
    exact = draws.logsumexp(dim=0) - math.log(200)
    assert float(exact.exp().sum() * 0.1) == pytest.approx(1, abs=0.03)
    assert (draws.mean(dim=0) <= exact).all()
    assert (draws.mean(dim=0) < exact - 0.001).any()
    by_class = app.class_log_prob(x) + app.mixture.log_prior.detach()
    torch.testing.assert_close(by_class.logsumexp(dim=1), app.log_prob(x))
    torch.testing.assert_close(app.measure(x).log_prob, app.log_prob(x))


class TwoClouds(PartsDataModule):
    """Two classes, three standard deviations to either side of the origin."""

    def load_sets(self):
        label = torch.arange(600) % 2
        x = torch.randn(600, 2) + torch.stack([6.0 * label - 3, torch.zeros(600)], dim=1)
        rows = {"train": slice(0, 400), "val": slice(400, 500), "test": slice(500, 600)}
        return {
            name: PartsSet(
                name, "train", {"x": x[part], "label": label[part]}, [name] * len(x[part])
            )
            for name, part in rows.items()
        }


def test_training_separates_the_classes_and_logs_the_accuracy(fit):
    app = build(
        flow.vector(2, depth=1, hidden=(8,)),
        y=2,
        mixture=ClassMixture(2, separation=1.0),
        objective=information_bottleneck(0.5),
        optimizer=partial(torch.optim.Adam, lr=5e-2),
    )
    data = TwoClouds((2,), batch_size=100)
    test = data.sets()["test"].parts
    before = app.log_prob(test["x"]).mean()
    logged = fit(app, data, max_steps=60).callback_metrics
    assert logged["val/accuracy"] > 0.97
    assert {"train/nll", "train/cross_entropy", "train/accuracy", "val/loss"} <= set(logged)
    right = app.classify(test["x"]).argmax(dim=1) == test["label"]
    assert right.float().mean() > 0.97
    entropy = math.log(2 * math.pi * math.e) + math.log(2)  # of two far normals in the plane
    assert app.log_prob(test["x"]).mean() > max(float(before), -entropy - 0.3)


def test_the_names_of_the_classes_come_from_the_data():
    app = vectors()
    assert app.classes == ["0", "1", "2"]
    app.columns = {"label": ["cat", "dog", "cow"]}
    assert app.classes == ["cat", "dog", "cow"]


def labelled(classes: list[str], **parts: torch.Tensor) -> SimpleNamespace:
    whole = {"x": torch.zeros(2, 5), **parts}
    train = PartsSet("train", "train", whole, ["a", "b"])
    return SimpleNamespace(classes=classes, sets=lambda: {"train": train})


def test_data_without_labels_are_refused(refused):
    app, labels = vectors(), torch.tensor([0, 1])
    app.check_data(labelled(["a", "b", "c"], label=labels))
    with refused("Classification: the data have no labels", "data.labels=true"):
        app.check_data(labelled([], label=labels))
    with refused("Classification: the data have no labels"):
        app.check_data(labelled(["a", "b", "c"]))


def test_another_number_of_classes_is_refused(refused):
    with refused("latent.y.classes=3", "the data have 2 classes, a, b"):
        vectors().check_data(labelled(["a", "b"], label=torch.tensor([0, 1])))


def test_a_label_that_is_no_class_is_refused(refused):
    app = vectors()
    with refused("labels go from 0 to 2", "got 3 to 3"):
        app.sample(2, label=3)
    with refused("labels go from 0 to 2", "got -1 to -1"):
        app.counterfactual(items(app), 0, -1)


def test_a_partition_without_a_class_part_is_refused(refused):
    with refused("Classification: needs x <-> y, z"):
        Classification(flow.vector(2, depth=1, hidden=(8,)))


def test_a_class_part_without_one_density_a_class_is_refused(refused):
    with refused("the part y needs one density for each class", "latent=class_mixture"):
        Classification(
            flow.vector(2, depth=1, hidden=(8,)),
            Partition({"x": (2,)}, {"y": (2,)}),
            Latent({"y": StandardNormal()}),
        )
