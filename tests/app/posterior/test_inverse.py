"""Inverse: posteriors in data units of three ways of training, compared with exact ones."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from innflow.app import Inverse
from innflow.app.posterior.misspecification import MisspecificationTest
from innflow.app.posterior.padding import CARRIED
from innflow.data.base import PartsDataModule, PartsSet
from innflow.data.simulation.support import Support
from innflow.flow import surrogate, vector
from innflow.latent.density import Latent, Observed, StandardNormal
from innflow.objective.inverse import bidirectional
from innflow.partition import Partition

NOISE = 0.5
SHAPES = {"x": (2,), "y": (1,), "eps": (1,)}


class Sum(PartsDataModule):
    """x ~ N((3, -1), diag(4, 1)) and y = x0 + x1 + 0.5 eps: the posterior is known exactly."""

    deterministic = False
    noise: torch.Tensor | None = torch.tensor([[NOISE]])
    support = Support(torch.full((2,), -torch.inf), torch.full((2,), torch.inf), torch.zeros(2) > 0)
    mean = torch.tensor([3.0, -1.0])
    sd = torch.tensor([2.0, 1.0])

    def __init__(self, n: int = 20_000) -> None:
        super().__init__((2,), batch_size=256)
        self.n = n

    def load_sets(self) -> dict[str, PartsSet]:
        generator = torch.Generator().manual_seed(1)
        x = self.mean + self.sd * torch.randn(self.n, 2, generator=generator)
        eps = torch.randn(self.n, 1, generator=generator)
        parts = {"x": x, "y": x.sum(dim=1, keepdim=True) + NOISE * eps, "eps": eps}
        cut = self.n // 10
        pieces = {"train": slice(cut, None), "val": slice(0, cut), "test": slice(0, cut)}
        return {
            name: PartsSet(
                name,
                {"train": "train", "val": "val", "test": "inlier"}[name],
                {key: part[rows] for key, part in parts.items()},
                [str(i) for i in range(len(parts["x"][rows]))],
            )
            for name, rows in pieces.items()
        }


def posterior_of(y: float) -> MultivariateNormal:
    variance = Sum.sd.square()
    gain = variance / (variance.sum() + NOISE**2)
    centre = Sum.mean + gain * (y - Sum.mean.sum())
    return MultivariateNormal(centre, variance.diag() - torch.outer(gain, variance))


PARTITIONS = {
    "given_y": ({"x": "data"}, {"z": "rest"}, {"y": "data"}),
    "x_yz": ({"x": "data"}, {"y": "data", "z": "rest"}, None),
    "x_eps_yz": ({"x": "data", "eps": "data"}, {"y": "data", "z": "rest"}, None),
    "x_pad_yz": ({"x": "data"}, {"y": "data", "z": 2}, None),
}


def build(way: str, sigma: float | None = None, **options) -> Inverse:
    left, right, context = PARTITIONS[way]
    partition = Partition.build(left, right, SHAPES, context)
    flow = vector(
        partition.shape,
        depth=2,
        hidden=[16],
        context=partition.context_features,
        align=way != "given_y",
    )
    latent = Latent({"z": StandardNormal(), "y": Observed(sigma)})
    app = Inverse(flow=flow, partition=partition, latent=latent, **options)
    app.shapes = {name: list(shape) for name, shape in SHAPES.items()}
    return app


@pytest.mark.parametrize("way", ["given_y", "x_eps_yz", "x_pad_yz"])
def test_a_linear_gaussian_posterior_is_exact_after_initialisation(way, fit):
    app = build(way)
    fit(app, Sum(), max_steps=1)
    for y in (2.0, 5.0):
        exact = posterior_of(y)
        drawn = app.posterior(torch.tensor([y]), 20_000, seed=0)
        deviation = (drawn.mean(dim=0) - exact.mean) / exact.stddev
        assert deviation.abs().max() < 0.1
        covariance = torch.cov(drawn.T)
        assert torch.linalg.norm(covariance - exact.covariance_matrix) < 0.1 * torch.linalg.norm(
            exact.covariance_matrix
        )


@pytest.mark.parametrize("way", ["given_y", "x_pad_yz"])
def test_log_prob_is_that_of_the_exact_posterior_in_data_units(way, fit):
    app = build(way)
    data = Sum()
    fit(app, data, max_steps=1)
    exact = posterior_of(4.0)
    x = exact.sample((200,))
    found = app.log_prob(x, torch.tensor([[4.0]]).expand(200, 1))
    assert (found - exact.log_prob(x)).abs().mean() < 0.1


def test_log_prob_integrates_to_one_on_a_bounded_support(fit):
    class Box(Sum):
        support = Support(torch.zeros(2), torch.tensor([1.0, 2.0]), torch.zeros(2) > 0)
        mean, sd = torch.tensor([0.5, 1.0]), torch.tensor([0.0, 0.0])

        def load_sets(self):
            sets = super().load_sets()
            for items in sets.values():
                items._whole["x"] = torch.rand(len(items), 2) * torch.tensor([1.0, 2.0])
            return sets

    app = build("given_y")
    fit(app, Box(2000), max_steps=3)
    n = 200
    axis = (torch.arange(n) + 0.5) / n
    grid = torch.cartesian_prod(axis, 2 * axis)
    density = app.log_prob(grid, torch.tensor([[1.2]]).expand(len(grid), 1)).double().exp()
    assert float(density.sum()) * 2 / n**2 == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("way", PARTITIONS)
def test_shapes_of_posteriors_and_their_seeds(way, fit):
    app = build(way)
    fit(app, Sum(2000), max_steps=1)
    one = app.posterior(torch.tensor([1.0]), 5, seed=3)
    assert one.shape == (5, 2)
    assert torch.equal(one, app.posterior(torch.tensor([1.0]), 5, seed=3))
    assert not torch.equal(one, app.posterior(torch.tensor([1.0]), 5, seed=4))
    assert app.posterior(torch.zeros(3, 1), 7).shape == (3, 7, 2)
    assert torch.equal(one, app.posterior([1.0], 5, seed=3))


def test_noise_that_is_not_on_the_left_is_the_width_of_y(fit):
    app = build("x_yz")
    fit(app, Sum(), max_steps=1)
    assert app.width == 0  # no noise is added to that of the data
    y = app.latent["y"].sample(torch.zeros(20_000, 1), target=torch.zeros(1))
    assert float(y.std()) == pytest.approx(NOISE / math.sqrt(5 + NOISE**2), rel=0.03)
    other = build("x_yz")
    other.load_state_dict(app.state_dict())
    assert other.width == 0
    assert other.latent["y"].width == app.latent["y"].width


def padded() -> Inverse:
    partition = Partition.build({"x": "data"}, {"y": "data", "z": 2}, SHAPES)
    flow = surrogate(3, observed=1, depth=2, hidden=[16], forward=[16])
    return Inverse(flow, partition, Latent({"z": StandardNormal(), "y": Observed(0.4)}))


def test_padding_carries_a_share_of_the_noise_of_y():
    """y = f(x) + pad + rest, where pad and the rest are independent."""
    app, rows = padded().eval(), 100_000
    batch = {"x": torch.zeros(rows, 2), "y": torch.full((rows, 1), 3.0)}
    left, right = app.prepare_batch(batch, torch.Generator().manual_seed(0))
    pad, rest = left["pad"][:, 0], (right["y"] - 3.0 - left["pad"])[:, 0]
    assert float(pad.var()) == pytest.approx(CARRIED * 0.4**2, rel=0.02)
    assert float(rest.var()) == pytest.approx((1 - CARRIED) * 0.4**2, rel=0.02)
    assert abs(float(torch.corrcoef(torch.stack((pad, rest)))[0, 1])) < 0.02
    widths = app.latent["y"].widths(torch.zeros(()))
    assert float(widths) == pytest.approx(0.4 * math.sqrt(1 - CARRIED))


def test_the_density_of_y_has_the_width_of_the_errors_in_validation():
    """The untrained flow predicts y = 0, so that the error of y = 1 is 1."""
    app = padded().eval()
    batch = {"x": torch.zeros(1000, 2), "y": torch.ones(1000, 1)}
    app.on_validated(app.compute_step(batch, 0))
    app.on_validation_epoch_end()
    assert app.latent["y"].fitted == pytest.approx([1.0], abs=0.05)
    other = padded().eval()
    other.load_state_dict(app.state_dict())
    y = other.latent["y"].sample(torch.zeros(20_000, 1), target=torch.zeros(1))
    assert float(y.std()) == pytest.approx(app.latent["y"].fitted[0], rel=0.03)


def test_noise_that_is_correlated_is_not_carried_by_padding(refused):
    partition = Partition({"x": (2,), "pad": (2,)}, {"y": (2,), "z": (2,)})
    latent = Latent({"z": StandardNormal(), "y": Observed()})
    app = Inverse(surrogate(4, observed=2, depth=1), partition, latent)
    with refused("correlated", "partition=given_y"):
        app._set_default_width(False, torch.tensor([[1.0, 0.0], [0.5, 1.0]]))


def test_log_prob_is_a_mean_over_the_padding():
    """The untrained flow gives y = pad and z = x, so that p(x | y) = N(x; 0, 1)."""
    app, rows = padded().eval(), 20_000
    x, y = torch.tensor([0.5, -1.0]), torch.tensor([0.6])
    found = app.log_prob(x.expand(rows, 2), y.expand(rows, 1)).exp().mean().log()
    expected = StandardNormal().log_prob(x[None])  # the integral over the padding is 1
    assert float(found) == pytest.approx(float(expected), abs=0.02)


def test_posterior_noise_and_parameters_reproduce_the_data(fit):
    app = build("x_eps_yz")
    fit(app, Sum(), max_steps=1)
    y = torch.tensor([2.0])
    x, eps = app.posterior(y, 500, seed=0), app.posterior_noise(y, 500, seed=0)
    assert (x.sum(dim=1) + NOISE * eps[:, 0] - 2.0).abs().mean() < 0.1


def test_the_maximum_likelihood_loss_is_the_formula():
    app = build("x_yz", sigma=0.1)
    batch = {"x": torch.randn(6, 2), "y": torch.randn(6, 1)}
    app.eval()
    step = app.compute_step(batch, None)
    y, z = step.latents["y"], step.latents["z"]
    expected = (
        0.5 * z.square().sum(1)
        + 0.5 * ((y - step.targets["y"]) / 0.1).square().sum(1)
        - step.logabsdet
        + 0.5 * 2 * math.log(2 * math.pi)
        + math.log(0.1)
    )
    assert torch.allclose(-step.log_prob, expected, atol=1e-5)


def test_mmd_trains_and_its_terms_are_logged(fit, tmp_path):
    from innflow.callback import MetricsCSV

    logger = MetricsCSV(tmp_path)
    app = build("x_yz", sigma=0.05, objective=bidirectional())
    fit(app, Sum(2000), max_steps=4, logger=logger, log_every_n_steps=1)
    logger.finalize("success")
    header = (tmp_path / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"train/fit", "train/latent_mmd", "train/input_mmd", "train/loss"} <= set(header)


def test_units_and_the_misspecification_test_survive_a_checkpoint(fit):
    app = build("given_y")
    fit(app, Sum(2000), max_steps=2)
    other = build("given_y")
    other.load_state_dict(app.state_dict())
    y = torch.tensor([2.5])
    assert torch.equal(app.posterior(y, 9, seed=1), other.posterior(y, 9, seed=1))
    assert torch.equal(app.misspecification_p(y), other.misspecification_p(y))
    assert other.width == app.width


def test_a_simulator_without_noise_gets_a_width_and_an_announcement(fit, capsys):
    class Noiseless(Sum):
        deterministic, noise = True, None

    app = build("given_y")
    fit(app, Noiseless(2000), max_steps=1)
    assert app.eval().width == 0.01
    assert "no noise" in capsys.readouterr().out
    noisy = build("given_y")
    fit(noisy, Sum(2000), max_steps=1)
    assert noisy.eval().width == 0.0


def test_data_unlike_any_simulation_have_a_small_p_value():
    familiar = MisspecificationTest()
    familiar.fit(torch.randn(5000, 3))
    fresh = familiar(torch.randn(4000, 3))
    # Calibrated: 5% of simulations have p <= 0.05, to within the error of 1,000 distances.
    assert 0.02 < float((fresh <= 0.05).float().mean()) < 0.09
    assert float(familiar(torch.full((1, 3), 6.0))) == pytest.approx(1 / 1001)


@pytest.mark.parametrize(
    ("y", "fragments"),
    [
        (torch.zeros(2, 3), ("y has shape (2, 3), expected (batch, 1)",)),
        (torch.tensor([math.nan]), ("y, row 0 (from 0), column y0: nan is not a finite number",)),
        (torch.zeros(1, 1, 1), ("y has shape (1, 1, 1), expected (batch, 1)",)),
        (torch.tensor([1e39], dtype=torch.float64), ("y, row 0", "1e+39")),
    ],
)
def test_bad_data_are_refused(y, fragments, refused):
    with refused(*fragments):
        build("given_y").posterior(y, 3)


def test_methods_that_a_partition_does_not_support_are_refused(refused):
    with refused("no closed form"):
        build("x_eps_yz").log_prob(torch.zeros(1, 2), torch.zeros(1, 1))
    with refused("no eps"):
        build("given_y").posterior_noise(torch.zeros(1), 2)
    with refused("no forward map is learned"):
        build("given_y").predict(torch.zeros(1, 2))
    with refused("n=0"):
        build("given_y").posterior(torch.zeros(1), 0)
    with refused("Inverse: the partition must be"):
        Inverse(flow=vector(2, depth=1), partition=Partition({"x": (2,)}, {"z": (2,)}))
