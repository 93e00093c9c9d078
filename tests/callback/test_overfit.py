"""Dropout rises after `patience` worse validations, from the best weights."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch
from pytorch_lightning.callbacks import EarlyStopping
from torch import nn

from innflow.callback import DropoutOnOverfit, MovingAverage
from innflow.flow import MLP


@pytest.fixture
def net() -> MLP:
    return MLP(2, 2, hidden=[4], dropout=0.0)


def validate(
    callback: DropoutOnOverfit, net: nn.Module, *values: float, callbacks: tuple = ()
) -> list[float]:
    """Return the dropout rate after each validation; the weights count them."""
    rates = []
    for value in values:
        with torch.no_grad():
            net.layers[0].bias += 1
        trainer = SimpleNamespace(
            callback_metrics={"val/nll": torch.tensor(value)},
            sanity_checking=False,
            global_step=1,
            callbacks=callbacks,
        )
        callback.on_validation_end(trainer, net)
        rates.append(next(m.p for m in net.modules() if isinstance(m, nn.Dropout)))
    return rates


def test_the_rate_rises_when_validation_gets_worse_by_a_margin(net):
    callback = DropoutOnOverfit(rates=[0.1, 0.5], patience=2, margin=0.15)
    rates = validate(callback, net, 3.0, 2.0, 2.5, 2.1, 2.5, 2.4, 1.0, 1.5, 1.2, 1.3)
    # 2.1 is within the margin and resets the count.
    assert rates == [0, 0, 0, 0, 0, 0.1, 0.1, 0.1, 0.5, 0.5]


def test_training_continues_from_the_best_weights(net):
    start = net.layers[0].bias.detach().clone()
    callback = DropoutOnOverfit(rates=[0.1], patience=2)
    validate(callback, net, 3.0, 2.0, 2.5, 2.6)
    assert torch.allclose(net.layers[0].bias, start + 2)


def test_early_stopping_restarts_its_patience_at_a_new_rate(net):
    stopping = EarlyStopping("val/nll", patience=3)
    stopping.wait_count = 2
    callback = DropoutOnOverfit(rates=[0.1], patience=2)
    validate(callback, net, 3.0, 2.0, 2.5, callbacks=(stopping,))
    assert stopping.wait_count == 2
    validate(callback, net, 2.6, callbacks=(stopping,))
    assert stopping.wait_count == 0


def test_the_average_of_the_weights_begins_anew_at_a_new_rate(net):
    average = Mock(spec=MovingAverage)
    callback = DropoutOnOverfit(rates=[0.1], patience=2)
    validate(callback, net, 3.0, 2.0, 2.5, callbacks=(average,))
    average.restart.assert_not_called()
    validate(callback, net, 2.6, callbacks=(average,))
    average.restart.assert_called_once_with()


def test_a_resumed_run_has_the_rate_and_the_best_weights(net):
    callback = DropoutOnOverfit(rates=[0.1, 0.2], patience=1)
    validate(callback, net, 1.0, 2.0)
    resumed, fresh = DropoutOnOverfit(rates=[0.1, 0.2], patience=1), MLP(2, 2, dropout=0.0)
    resumed.load_state_dict(callback.state_dict())
    resumed.on_fit_start(SimpleNamespace(), fresh)
    assert {m.p for m in fresh.modules() if isinstance(m, nn.Dropout)} == {0.1}
    assert validate(resumed, net, 1.5, 1.7) == [0.1, 0.2]


def test_a_new_rate_is_judged_by_its_own_best(net):
    """Right after it sets in a network is worse than before, and that is no overfitting."""
    callback = DropoutOnOverfit(rates=[0.1, 0.2], patience=2)
    assert validate(callback, net, 1.0, 2.0, 2.0) == [0, 0, 0.1]
    assert validate(callback, net, 3.0, 2.8, 2.5, 2.2) == [0.1] * 4
    assert validate(callback, net, 2.6, 2.6) == [0.1, 0.2]


def test_what_cannot_work_is_refused(net, refused):
    with refused("rates=[0.2, 0.1]", "rising"):
        DropoutOnOverfit(rates=[0.2, 0.1])
    with refused("patience=0"):
        DropoutOnOverfit(patience=0)
    with refused("margin=-1"):
        DropoutOnOverfit(margin=-1)
    with refused("model.subnet.dropout"):
        DropoutOnOverfit().on_fit_start(SimpleNamespace(), MLP(2, 2))
