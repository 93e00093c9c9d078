from __future__ import annotations

import re
from datetime import timedelta

from innflow import flow
from innflow.app import Density
from innflow.callback import Progress
from innflow.data.toy.clouds import Toy


def run(fit, bar: Progress, **limits) -> None:
    data = Toy("moons", n=200, n_test=10, batch_size=32)
    app = Density(flow.vector(2, depth=1, hidden=(4,)))
    fit(app, data, callbacks=[bar], enable_progress_bar=True, **limits)


def test_a_log_has_lines_with_step_time_and_metrics(fit, capsys):
    run(fit, Progress(line_seconds=0), max_steps=12)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 12
    shape = r"training 50%  step 6 of 12, \d+ s left  [\d.]+ steps/s  train/nll [\d.]+"
    assert re.match(shape, lines[5])
    assert "val/nll" in lines[-1]
    assert "training 100%" in lines[-1]


def test_a_run_that_ends_by_time_shows_no_number_of_steps(fit, capsys):
    run(fit, Progress(line_seconds=0), max_epochs=10**6, max_time=timedelta(seconds=0.3))
    lines = capsys.readouterr().err.splitlines()
    found = [re.match(r"training (\d+)%  step [\d,]+(, \d+ s left)?  ", line) for line in lines]
    shares = [int(match[1]) for match in found]  # of the time: far above those of the steps
    assert shares == sorted(shares)
    assert shares[-1] > 10


def test_a_terminal_has_a_bar_on_stderr_until_training_ends(fit, capsys, monkeypatch):
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    run(fit, Progress(seconds=0), max_steps=6)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "━" in shown.err
    assert "step 6 of 6" in shown.err.splitlines()[-2]


def test_other_ranks_show_nothing(fit, capsys):
    bar = Progress(line_seconds=0)
    bar.disable()
    run(fit, bar, max_steps=2)
    assert capsys.readouterr().err == ""
