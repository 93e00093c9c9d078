"""The moving average is validated, saved and returned; buffers are not averaged."""

from __future__ import annotations

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from innflow.callback import MovingAverage
from innflow.data.toy.clouds import Toy
from innflow.run.checkpoint import find_checkpoint, read_checkpoint
from innflow.run.load import assemble

DECAY = 0.5


class Trajectory(pl.Callback):
    """Record the weights after every step."""

    def __init__(self) -> None:
        self.weights: list[dict[str, torch.Tensor]] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        state = {name: value.clone() for name, value in pl_module.state_dict().items()}
        self.weights.append(state)


def train(config, fit, folder, steps=6, **options):
    torch.manual_seed(0)
    app = assemble(config, {"x": (2,)})
    keep = ModelCheckpoint(folder / "checkpoints", "best", monitor="val/nll", save_last=True)
    seen = Trajectory()
    callbacks = [keep, MovingAverage(DECAY), seen]
    data = Toy("moons", n=200, n_test=50, batch_size=64)
    fit(app, data, max_steps=steps, callbacks=callbacks, enable_checkpointing=True, **options)
    return app, seen.weights


def expected(weights, steps=0):
    """Return the average of the weights, of which the first is that of `steps`; last buffers."""
    average = dict(weights[0])
    for count, state in enumerate(weights[1:], start=steps + 1):
        keep = min(DECAY, (1 + count) / (10 + count))
        for name, value in state.items():
            floating = value.is_floating_point() and "sign" not in name
            average[name] = keep * average[name] + (1 - keep) * value if floating else value
    return average


def test_the_checkpoint_and_the_model_hold_the_average(config, fit, tmp_path):
    app, weights = train(config, fit, tmp_path)
    average = expected(weights)
    saved = read_checkpoint(find_checkpoint(tmp_path, "last"))["state_dict"]
    names = {name for name, _ in app.named_parameters()}
    for name in names:
        torch.testing.assert_close(app.state_dict()[name], average[name], msg=name)
        torch.testing.assert_close(saved[name], average[name], msg=name)
    moving = max(names, key=lambda name: (weights[0][name] - weights[-1][name]).abs().max())
    assert not torch.equal(average[moving], weights[-1][moving])


def test_permutations_and_initialised_flags_are_copied(config, fit, tmp_path):
    app, weights = train(config, fit, tmp_path)
    saved = read_checkpoint(find_checkpoint(tmp_path, "last"))["state_dict"]
    for name, buffer in app.named_buffers():
        assert torch.equal(buffer, weights[-1][name]), name
        assert torch.equal(saved[name], weights[-1][name]), name
    assert all(saved[name] for name in saved if name.endswith("initialised"))


def test_a_resumed_run_continues_from_the_weights_and_the_average(config, fit, tmp_path):
    _, before = train(config, fit, tmp_path, steps=4)
    last = find_checkpoint(tmp_path, "last")
    saved = read_checkpoint(last)
    torch.testing.assert_close(saved["current_model_state"], before[-1], rtol=0, atol=0)
    app, after = train(config, fit, tmp_path / "rest", steps=6, ckpt_path=last)
    assert len(after) == 2
    average = saved["state_dict"]
    for count, weights in enumerate(after):
        average = expected([average, weights], steps=3 + count)
    for name, value in app.state_dict().items():
        torch.testing.assert_close(value, average[name], msg=name)


@pytest.mark.parametrize("decay", [0.0, 0.999])
def test_any_decay_trains(config, fit, decay):
    app = assemble(config, {"x": (2,)})
    data = Toy("moons", n=200, n_test=50, batch_size=64)
    fit(app, data, max_steps=2, callbacks=[MovingAverage(decay)])
    assert all(parameter.isfinite().all() for parameter in app.parameters())


def test_a_restarted_average_forgets_earlier_weights(config, fit, tmp_path):
    torch.manual_seed(0)
    app, average, seen = assemble(config, {"x": (2,)}), MovingAverage(DECAY), Trajectory()
    restart = pl.callbacks.LambdaCallback(
        on_train_batch_start=lambda trainer, *_: (
            average.restart() if trainer.global_step == 3 else None
        )
    )
    data = Toy("moons", n=200, n_test=50, batch_size=64)
    fit(app, data, max_steps=6, callbacks=[average, seen, restart])
    wanted = expected(seen.weights[3:])
    for name, value in app.state_dict().items():
        torch.testing.assert_close(value, wanted[name], msg=name)


class Settling(torch.nn.Module):
    """A module whose extra state is set when training begins."""

    known = None

    def get_extra_state(self):
        return {"known": self.known}

    def set_extra_state(self, state):
        self.known = state["known"]


def test_an_extra_state_that_training_sets_is_saved_with_the_average(config, fit, tmp_path):
    app = assemble(config, {"x": (2,)})
    app.settling = Settling()
    settle = pl.callbacks.LambdaCallback(
        on_train_start=lambda trainer, module: setattr(module.settling, "known", 7)
    )
    keep = ModelCheckpoint(tmp_path / "checkpoints", "best", monitor="val/nll", save_last=True)
    data = Toy("moons", n=200, n_test=50, batch_size=64)
    callbacks = [keep, MovingAverage(DECAY), settle]
    fit(app, data, max_steps=4, callbacks=callbacks, enable_checkpointing=True)
    for which in ("best", "last"):
        saved = read_checkpoint(find_checkpoint(tmp_path, which))["state_dict"]
        assert saved["settling._extra_state"] == {"known": 7}
