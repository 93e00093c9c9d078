"""Training with Lightning's own trainer."""

from __future__ import annotations

import math
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.distributions import MultivariateNormal
from torch.utils.data import DataLoader

from innflow import Objective, flow
from innflow.app import Density, Generation
from innflow.app.module import VALIDATION_NOISE
from innflow.app.schedule import cosine
from innflow.data.toy.clouds import Toy
from innflow.flow import ActNorm
from innflow.objective.base import nll


class Drawn(pl.LightningDataModule):
    """The same tensor as training and as held-out data."""

    def __init__(self, x: torch.Tensor, batch_size: int):
        super().__init__()
        self.x = x
        self.batch_size = batch_size

    def train_dataloader(self):
        return self._loader(shuffle=True)

    def val_dataloader(self):
        return self._loader()

    def _loader(self, shuffle=False):
        items = [{"x": x} for x in self.x]
        return DataLoader(items, self.batch_size, shuffle=shuffle)


class Watch(pl.Callback):
    """Keeps what is logged and the learning rate at every step."""

    def __init__(self):
        self.logged: list[dict[str, float]] = []
        self.rates: list[float] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.logged.append({k: float(v) for k, v in trainer.callback_metrics.items()})
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


def adam(lr: float):
    return partial(torch.optim.Adam, lr=lr)


@pytest.mark.representatives("spline")
@pytest.mark.parametrize("coupling", ["affine", "spline"])
def test_training_reaches_the_entropy_of_a_gaussian(coupling, fit):
    """The entropy is the lower bound of the mean of -log_prob, and this flow can attain it."""
    covariance = torch.tensor([[1.0, 1.6, 0.0], [1.6, 4.0, 0.3], [0.0, 0.3, 0.25]])
    target = MultivariateNormal(torch.tensor([3.0, -2.0, 0.5]), covariance)
    app = Density(
        flow.vector(3, depth=3, hidden=(32,), coupling=coupling),
        optimizer=adam(1e-2),
        schedule=cosine(),
    )
    watch = Watch()
    data = Drawn(target.sample((8192,)), batch_size=256)
    fit(app, data, max_steps=250, limit_val_batches=0, callbacks=[watch])
    reached = -app.log_prob(target.sample((20_000,))).mean()
    assert abs(reached - target.entropy()) < 0.05
    first, last = watch.logged[0], watch.logged[-1]
    assert last["train/nll"] < first["train/nll"]
    assert last["train/loss"] == pytest.approx(last["train/nll"] / 3, rel=1e-5)


def test_training_on_images_beats_the_untrained_flow(fit):
    pixels = 100 + 3 * torch.randn(256, 1, 4, 4)
    data = Drawn(pixels.round().to(torch.uint8), batch_size=64)
    app = Generation(flow.glow((1, 4, 4), levels=1, depth=2, hidden=8), optimizer=adam(5e-3))
    watch = Watch()
    before = app.log_prob(data.x).mean()
    fit(app, data, max_steps=40, callbacks=[watch])
    after = app.log_prob(data.x).mean()
    exact = 16 * (0.5 * math.log(2 * math.pi * math.e) + math.log(3))  # entropy, width 3 pixels
    assert after > before + 16
    assert after < -exact + 3
    logged = watch.logged[-1]
    assert logged["train/bpd"] == pytest.approx(logged["train/nll"] / (16 * math.log(2)), rel=1e-5)


def test_validation_takes_one_seeded_draw_of_noise_an_image(fit):
    data = Drawn(torch.randint(0, 256, (64, 1, 4, 4), dtype=torch.uint8), batch_size=32)
    app = Generation(flow.glow((1, 4, 4), levels=1, depth=1, hidden=4))
    trainer = fit(app, data, max_steps=2)
    expected = -app.log_prob(data.x, noise_seed=VALIDATION_NOISE).mean()
    assert trainer.callback_metrics["val/nll"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert expected != -app.log_prob(data.x).mean()
    bits = expected / (16 * math.log(2))
    assert trainer.callback_metrics["val/bpd"].item() == pytest.approx(bits.item(), rel=1e-5)


def test_every_term_is_logged_under_its_name(fit):
    objective = Objective({"nll": nll, "zero": lambda step: 0 * nll(step)}, {"nll": 2.0})
    app = Density(flow.vector(2, depth=1, hidden=(4,)), objective=objective)
    watch = Watch()
    fit(app, Drawn(torch.randn(64, 2), 32), max_steps=1, limit_val_batches=0, callbacks=[watch])
    logged = watch.logged[0]
    assert logged["train/zero"] == 0
    assert logged["train/loss"] == pytest.approx(2 * logged["train/nll"] / 2, rel=1e-5)


def test_the_first_step_has_standardised_latents(fit):
    """ActNorms are initialised from a batch before the first step, wherever the data lie."""
    app = Density(flow.vector(3, depth=3, hidden=(4,)), optimizer=adam(0.0))
    data = Drawn(1000 + 50 * torch.randn(512, 3), batch_size=512)
    fit(app, data, max_steps=1, limit_val_batches=0)
    z = app.encode(data.x)
    assert z.mean(dim=0).abs().max() < 1e-2
    assert (z.std(dim=0) - 1).abs().max() < 1e-2


def test_a_resumed_run_keeps_its_actnorms(fit, tmp_path):
    def fresh() -> Density:
        return Density(flow.vector(3, depth=2, hidden=(4,)), optimizer=adam(0.0))

    keep = ModelCheckpoint(tmp_path, save_last=True)
    first = fresh()
    data = Drawn(torch.randn(128, 3), 64)
    fit(first, data, max_steps=2, callbacks=[keep], enable_checkpointing=True)
    resumed = fresh()
    elsewhere = Drawn(70 + 9 * torch.randn(128, 3), 64)
    trainer = fit(resumed, elsewhere, ckpt_path=tmp_path / "last.ckpt", max_steps=4)
    assert trainer.global_step == 4
    norms = [m for m in resumed.modules() if isinstance(m, ActNorm)]
    assert all(bool(norm.initialised) for norm in norms)
    for name, value in first.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_the_same_seed_trains_the_same_weights(fit):
    states = []
    for _ in range(2):
        torch.manual_seed(7)
        app = Density(flow.vector(2, depth=2, hidden=(4,)))
        fit(app, Drawn(torch.randn(128, 2), 32), max_steps=5)
        states.append(app.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_the_learning_rate_follows_the_steps(fit):
    schedule = cosine(warmup=0.2, final=0.1)
    app = Density(flow.vector(2, depth=1, hidden=(4,)), optimizer=adam(0.5), schedule=schedule)
    watch = Watch()
    data = Drawn(torch.randn(100, 2), 10)
    fit(app, data, max_epochs=2, limit_val_batches=0, callbacks=[watch])
    expected = [0.5 * schedule(step / 20) for step in range(1, 21)]
    assert watch.rates == pytest.approx(expected)


def test_the_learning_rate_follows_the_time(fit):
    app = Density(flow.vector(2, depth=1, hidden=(4,)), optimizer=adam(0.5), schedule=cosine())
    watch = Watch()
    data = Drawn(torch.randn(100, 2), 10)
    limit = {"seconds": 1.5}
    fit(app, data, max_time=limit, limit_val_batches=0, callbacks=[watch])
    peak = watch.rates.index(max(watch.rates))
    assert watch.rates[peak:] == sorted(watch.rates[peak:], reverse=True)
    assert max(watch.rates) > 0.4
    assert watch.rates[-1] < 0.05


def test_the_validation_likelihood_is_in_full_precision_under_bf16(fit):
    app = Density(flow.vector(3, depth=2, hidden=(16,)), optimizer=adam(1e-2))
    data = Drawn(torch.randn(64, 3), 32)
    trainer = fit(app, data, max_steps=4, precision="bf16-mixed")
    expected = -app.log_prob(data.x).mean().item()
    assert trainer.callback_metrics["val/nll"].item() == pytest.approx(expected, rel=1e-6)


def test_layers_are_initialised_from_augmented_data(fit):
    class Noisy(Toy):
        def augment(self, x):
            return x + 10 * torch.randn_like(x)

    app = Density(flow.vector(2, depth=1, hidden=(4,)), optimizer=partial(torch.optim.SGD, lr=0.0))
    fit(app, Noisy("moons", n=2000, n_test=50, batch_size=1000), max_steps=1)
    first = next(module for module in app.flow.modules() if isinstance(module, ActNorm))
    x = torch.randn(4000, 2) * (100 + 0.5) ** 0.5
    assert (first(x)[0].std(dim=0) - 1).abs().max() < 0.1
