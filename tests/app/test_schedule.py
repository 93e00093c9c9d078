from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from pytorch_lightning.callbacks import Timer

from innflow.app.schedule import constant, cosine, progress


def test_cosine_rises_and_falls():
    factor = cosine(warmup=0.1, final=0.2)
    assert factor(0.0) == 0.0
    assert factor(0.05) == pytest.approx(0.5)
    assert factor(0.1) == 1.0
    assert factor(0.55) == pytest.approx(0.6)  # halfway from 1 down to 0.2
    assert factor(1.0) == pytest.approx(0.2)
    values = [factor(0.1 + 0.9 * i / 100) for i in range(101)]
    assert values == sorted(values, reverse=True)


def test_constant_rises_and_stays():
    factor = constant(warmup=0.5)
    assert [factor(p) for p in (0.0, 0.25, 0.5, 0.9, 1.0)] == [0.0, 0.5, 1.0, 1.0, 1.0]
    assert constant()(0.0) == 1.0


@pytest.mark.parametrize("make", [constant, cosine])
@pytest.mark.parametrize("warmup", [0.0, 0.02, 0.9])
def test_factors_stay_between_0_and_1_even_past_the_end(make, warmup):
    values = [make(warmup=warmup)(i / 100) for i in range(151)]
    assert all(0.0 <= value <= 1.0 and math.isfinite(value) for value in values)
    assert values[100] == values[-1]


@pytest.mark.parametrize(
    "arguments",
    [{"warmup": 1.0}, {"warmup": -0.1}, {"final": 1.1}, {"final": -0.1}, {"warmup": math.nan}],
)
def test_what_is_out_of_range_is_refused(arguments, refused):
    with refused("schedule: ", "warmup must be in [0, 1), final in [0, 1]"):
        cosine(**arguments)


def run_at(step: int, seconds: float | None = None, elapsed: float = 0.0) -> SimpleNamespace:
    """Return a trainer at a step, and where time limits it, after so many seconds."""
    callbacks = []
    if seconds is not None:
        timer = Timer(duration={"seconds": seconds})
        timer.time_elapsed = lambda stage: elapsed if stage == "train" else 0.0
        callbacks.append(timer)
    return SimpleNamespace(global_step=step, callbacks=callbacks)


def test_progress_follows_what_ends_the_run_first():
    assert progress(run_at(25), 100) == 0.25
    assert progress(run_at(25, seconds=60, elapsed=30), 100) == 0.5
    assert progress(run_at(75, seconds=60, elapsed=30), 100) == 0.75
    assert progress(run_at(75, seconds=60, elapsed=30), math.inf) == 0.5
    assert progress(run_at(75), math.inf) == 0.0
    assert progress(run_at(120), 100) == 1.0
    assert progress(run_at(0, seconds=60, elapsed=90), 100) == 1.0
