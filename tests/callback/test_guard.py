from __future__ import annotations

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from innflow import Objective, flow
from innflow.app import Density
from innflow.callback import Guard
from innflow.data.toy import Toy
from innflow.errors import InnflowError
from innflow.objective import nll


class Faulty:
    """A term that is fine for some steps and then is not."""

    def __init__(self, good: int, value: float):
        self.left = good
        self.value = value

    def __call__(self, step):
        self.left -= 1
        return step.log_prob.mean() * (0.0 if self.left >= 0 else self.value)


@pytest.fixture
def data() -> Toy:
    return Toy("moons", n=200, n_val=10, batch_size=32)


def faulty(good: int, value: float) -> Density:
    objective = Objective({"nll": nll, "odd": Faulty(good, value)})
    return Density(flow.vector(2, depth=2, hidden=(4,)), objective=objective)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_not_finite_stops_before_it_reaches_the_weights(value, data, fit, tmp_path):
    app = faulty(3, value)
    keep = ModelCheckpoint(tmp_path, "best", every_n_train_steps=1, save_last=True)
    with pytest.raises(InnflowError) as caught:
        fit(app, data, max_steps=10, callbacks=[Guard(), keep], enable_checkpointing=True)
    line = str(caught.value)
    assert "\n" not in line
    assert "step 3:" in line
    assert "train/odd=" in line
    assert "train/nll" not in line
    assert str(tmp_path / "last.ckpt") in line
    assert all(parameter.isfinite().all() for parameter in app.parameters())
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 3
    for name, value in saved["state_dict"].items():
        assert torch.equal(value, app.state_dict()[name])


def test_before_the_first_checkpoint_there_is_none_to_name(data, fit, refused):
    with refused("step 0:", "none yet"):
        fit(faulty(0, float("nan")), data, max_steps=3, callbacks=[Guard()])


def test_data_that_are_not_finite_name_the_likelihood(data, fit, refused):
    data.setup()
    data.sets()["train"].parts["x"].fill_(float("nan"))
    app = Density(flow.vector(2, depth=2, hidden=(4,)))
    with refused("train/nll=nan"):
        fit(app, data, max_steps=3, callbacks=[Guard()])


def test_a_finite_loss_goes_on(data, fit):
    trainer = fit(faulty(100, 1.0), data, max_steps=5, callbacks=[Guard()])
    assert trainer.global_step == 5


class Steep:
    """A finite term whose gradient is infinite after some steps."""

    def __init__(self, good: int):
        self.left = good

    def __call__(self, step):
        self.left -= 1
        zero = (step.logabsdet - step.logabsdet.detach()).mean()
        return zero if self.left >= 0 else zero.sqrt()


def test_a_gradient_that_is_not_finite_stops_before_it_reaches_the_weights(data, fit, refused):
    objective = Objective({"nll": nll, "steep": Steep(2)})
    app = Density(flow.vector(2, depth=2, hidden=(4,)), objective=objective)
    with refused("step 2:", "a gradient is not finite"):
        fit(app, data, max_steps=10, gradient_clip_val=1.0, callbacks=[Guard()])
    assert all(p.isfinite().all() for p in app.parameters())


def test_held_out_data_that_are_not_finite_stop_the_run(data, fit, refused):
    data.setup()
    data.sets()["monitor"].parts["x"][0] = float("nan")
    app = Density(flow.vector(2, depth=2, hidden=(4,)))
    with refused("val/nll=nan", "not finite"):
        fit(app, data, max_steps=40, limit_val_batches=1.0, callbacks=[Guard()])
