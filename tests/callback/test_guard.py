from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils._python_dispatch import TorchDispatchMode

from innflow import Objective, flow
from innflow.app import Density
from innflow.callback import Guard, Progress
from innflow.callback.guard import _Flag
from innflow.data.sets import PartsSet
from innflow.data.toy.clouds import Toy
from innflow.errors import InnflowError
from innflow.objective.base import nll


class Faulty:
    """A loss term that is finite for some steps and then is not."""

    def __init__(self, good: int, value: float):
        self.left = good
        self.value = value

    def __call__(self, step):
        self.left -= 1
        return step.log_prob.mean() * (0.0 if self.left >= 0 else self.value)


@pytest.fixture
def data() -> Toy:
    return Toy("moons", n=200, n_test=10, batch_size=32)


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


def test_without_a_checkpoint_the_message_names_none(data, fit, refused):
    with refused("step 0:", "none yet"):
        fit(faulty(0, float("nan")), data, max_steps=3, callbacks=[Guard()])


def test_data_that_are_not_finite_name_the_likelihood(data, fit, refused):
    data.setup()
    x = torch.full((len(data.sets()["train"]), 2), float("nan"))
    data.sets()["train"] = PartsSet.numbered("train", "train", {"x": x})
    app = Density(flow.vector(2, depth=2, hidden=(4,)))
    with refused("train/nll=nan"):
        fit(app, data, max_steps=3, callbacks=[Guard()])


def test_a_finite_loss_trains_to_the_end(data, fit):
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


def test_validation_data_that_are_not_finite_stop_the_run(data, fit, refused):
    data.setup()
    x = data.sets()["val"].parts["x"].index_fill(0, torch.tensor([0]), float("nan"))
    data.sets()["val"] = PartsSet.numbered("val", "val", {"x": x})
    app = Density(flow.vector(2, depth=2, hidden=(4,)))
    with refused("val/nll=nan", "not finite"):
        fit(app, data, max_steps=40, limit_val_batches=1.0, callbacks=[Guard()])


class Late(Guard):
    """A guard on a device whose flags arrive only when they are waited for."""

    def _check(self, trainer, name, finite):
        flag = _Flag.send(finite, trainer.global_step, name)
        flag.event = SimpleNamespace(query=lambda: False, synchronize=lambda: None)
        self._pending.append(flag)
        self._read(trainer)


def test_late_flags_are_read_before_a_checkpoint_is_written(data, fit, tmp_path):
    app = faulty(3, float("nan"))
    keep = ModelCheckpoint(tmp_path, "best", every_n_train_steps=2, save_last=True)
    with pytest.raises(InnflowError, match=r"step 3: .*train/odd=nan"):
        fit(app, data, max_steps=10, callbacks=[Late(), keep], enable_checkpointing=True)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 2
    assert all(value.isfinite().all() for value in saved["state_dict"].values())


def test_late_flags_are_read_before_validation_and_at_the_end(data, fit, refused):
    # 6 batches an epoch, a validation after each.
    with refused("step 3:"):
        fit(faulty(3, float("nan")), data, max_steps=7, callbacks=[Late()])
    with refused("step 3:"):
        fit(faulty(3, float("nan")), data, max_steps=5, limit_val_batches=0, callbacks=[Late()])


class Reads(TorchDispatchMode):
    """Count reads of tensor values, each of which waits for an accelerator."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


class Watch(pl.Callback):
    """Count reads within training steps, as the first and the last callback."""

    def __init__(self, reads):
        self.reads = reads

    def on_train_batch_start(self, *args):
        self.reads.__enter__()


class Unwatch(Watch):
    def on_train_batch_end(self, *args):
        self.reads.__exit__(None, None, None)

    def on_train_batch_start(self, *args):
        pass


@pytest.mark.parametrize(("guard", "least"), [(Late, 0), (Guard, 2)])
def test_no_training_step_waits_for_the_device(guard, least, data, fit):
    reads = Reads()
    app = Density(flow.vector(2, depth=2, hidden=(4,)), optimizer=partial(torch.optim.SGD, lr=1e-3))
    bar = Progress(seconds=100, line_seconds=100)
    fit(
        app,
        data,
        max_steps=5,
        gradient_clip_val=1.0,
        callbacks=[Watch(reads), guard(), bar, Unwatch(reads)],
        enable_progress_bar=True,
    )
    assert reads.count == 5 * least
