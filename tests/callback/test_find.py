"""The searches set the learning rate and the batch size of the training, and print them."""

from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch

from innflow.callback import FindBatchSize, FindLearningRate, LastCheckpoint
from innflow.data.toy.clouds import Toy
from innflow.run.load import assemble


class Rates(pl.Callback):
    """Record the learning rate and the batch size of every step after the search."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.sizes: list[int] = []

    def on_fit_start(self, trainer, pl_module):
        self.rates, self.sizes = [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.sizes.append(len(batch["x"]))


@pytest.fixture
def app(config):
    torch.manual_seed(0)
    config["schedule"] = {"_target_": "innflow.app.constant"}
    return assemble(config, {"x": (2,)})


def test_the_rate_that_is_found_is_trained_with(app, fit, tmp_path, capsys):
    find, seen = FindLearningRate(num_training_steps=30), Rates()
    data = Toy("moons", n=400, n_test=50, batch_size=64)
    fit(app, data, max_steps=40, callbacks=[find, seen], default_root_dir=tmp_path)
    found = find.optimal_lr.suggestion()
    assert 1e-6 < found < 3e-2
    assert found != 1e-3
    assert app.lr == pytest.approx(found)
    assert seen.rates[-40:] == pytest.approx([found] * 40)
    assert f"optimizer.lr={found:.2e}" in capsys.readouterr().out
    assert not list(tmp_path.glob(".lr_find*"))


def test_a_run_that_is_too_short_for_a_range_test_is_refused(app, fit, tmp_path, refused):
    data = Toy("moons", n=400, n_test=50, batch_size=64)
    with refused("extra=find_lr", "trainer.max_epochs"):
        fit(app, data, max_epochs=1, callbacks=[FindLearningRate()], default_root_dir=tmp_path)


def test_the_batch_size_that_is_found_is_trained_with(app, fit, tmp_path, capsys):
    find, seen = FindBatchSize(init_val=8, max_val=32, steps_per_trial=1), Rates()
    data = Toy("moons", n=400, n_test=50, batch_size=64)
    fit(app, data, max_steps=3, callbacks=[find, seen], default_root_dir=tmp_path)
    assert seen.sizes[-3:] == [32] * 3
    assert data.batch_size == 32
    assert "data.batch_size=32" in capsys.readouterr().out


def test_no_batch_is_larger_than_the_training_set(app, fit, tmp_path):
    data = Toy("moons", n=100, n_test=50, batch_size=64)
    fit(app, data, max_steps=2, callbacks=[FindBatchSize(8, 4096, 1)], default_root_dir=tmp_path)
    assert data.batch_size == 64


def test_a_first_batch_that_is_too_large_is_refused(app, fit, tmp_path, refused):
    data = Toy("moons", n=100, n_test=50, batch_size=64)
    with refused("init_val=128", "95 training items"):
        fit(app, data, max_steps=2, callbacks=[FindBatchSize(128)], default_root_dir=tmp_path)


def test_a_resumed_run_does_not_search_again(app, config, fit, tmp_path, capsys):
    last = LastCheckpoint(str(tmp_path))

    def train(app, data, steps, ckpt_path=None):
        find, seen = [FindLearningRate(num_training_steps=30), FindBatchSize(8, 32, 1)], Rates()
        options = {"max_steps": steps, "default_root_dir": tmp_path, "enable_checkpointing": True}
        fit(app, data, ckpt_path=ckpt_path, callbacks=[*find, seen, last], **options)
        return seen

    first = train(app, Toy("moons", n=400, n_test=50, batch_size=64), 40)
    assert "found by a range test" in capsys.readouterr().out
    data = Toy("moons", n=400, n_test=50, batch_size=64)
    again = train(assemble(config, {"x": (2,)}), data, 43, tmp_path / "last.ckpt")
    assert capsys.readouterr().out == ""
    assert again.sizes == [32] * 3
    assert again.rates == pytest.approx([first.rates[-1]] * 3)


def test_the_rate_of_an_application_is_that_of_its_optimizer(app):
    assert app.lr == 1e-3
    app.lr = 0.5
    assert app.make_optimizer(app.parameters()).param_groups[0]["lr"] == 0.5
    assert app.lr == 0.5
