from __future__ import annotations

import time

from innflow import flow
from innflow.app import Density
from innflow.callback import Clock
from innflow.data.toy.clouds import Toy


def test_it_counts_items_and_seconds(fit):
    clock = Clock()
    app = Density(flow.vector(2, depth=1, hidden=(4,)))
    started = time.monotonic()
    data = Toy("moons", n=200, n_test=10, batch_size=32)
    fit(app, data, max_steps=7, callbacks=[clock])
    outside = time.monotonic() - started
    metrics = clock.metrics()
    assert clock.items == 7 * 32
    assert 0 < metrics["time/train_seconds"] <= outside
    # The rate excludes validation, so it is at least items over all seconds.
    assert metrics["time/images_per_second"] >= clock.items / metrics["time/train_seconds"]


def test_without_training_there_is_no_rate():
    assert Clock().metrics() == {"time/train_seconds": 0.0, "time/images_per_second": 0.0}


def test_a_resumed_run_continues_the_counts(fit):
    clock, again = Clock(), Clock()
    for each in (clock, again):
        app = Density(flow.vector(2, depth=1, hidden=(4,)))
        data = Toy("moons", n=200, n_test=10, batch_size=32)
        again.load_state_dict(clock.state_dict())
        fit(app, data, max_steps=3, callbacks=[each])
    assert again.items == 2 * clock.items
    assert again.seconds > clock.seconds
    assert again.metrics()["time/train_seconds"] == again.seconds
