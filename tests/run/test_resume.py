"""A run that was stopped and resumed equals one that never stopped, bit for bit."""

from __future__ import annotations

import csv
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import yaml
from tiny import train
from torch import Tensor

from innflow.errors import Stopped


class StopAt(pl.Callback):
    """Sends this process a signal at the beginning of a step."""

    def __init__(self, step: int, signum: int) -> None:
        self.step, self.signum = step, signum

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            self.step = -1
            os.kill(os.getpid(), self.signum)


class Draws(pl.Callback):
    """Lets a run depend on all three streams of random numbers."""

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, *_: Any) -> None:
        drawn = random.random() + np.random.rand() + float(torch.rand(()))
        pl_module.log("train/drawn", drawn, on_step=True, on_epoch=False)


COMMON = (
    *("analysis=none", "score=none", "trainer.log_every_n_steps=3", "callbacks.progress=null"),
    *("+callbacks.draws._target_=run.test_resume.Draws", "trainer.enable_progress_bar=false"),
)
MOONS = (
    *COMMON,
    *("+experiment=moons", "data.n=240", "data.n_test=20", "data.batch_size=20"),
    *("model.depth=1", "model.hidden=[4]"),
)
"""11 steps an epoch."""
SCENARIOS = {
    "validation across epochs": (
        *MOONS,
        *("trainer.max_steps=30", "trainer.val_check_interval=4"),
    ),
    "validation at the end of an epoch": (
        *MOONS,
        *("trainer.max_steps=-1", "trainer.max_epochs=3", "trainer.val_check_interval=1.0"),
        "trainer.check_val_every_n_epoch=1",
    ),
    "validation in every second epoch": (
        *MOONS,
        *("trainer.max_steps=31", "trainer.max_epochs=-1", "trainer.val_check_interval=5"),
        *("trainer.check_val_every_n_epoch=2", "+extra=ema", "callbacks.ema.decay=0.9"),
    ),
    "gradients of two batches": (
        *MOONS,
        *("trainer.max_steps=-1", "trainer.max_epochs=3", "trainer.val_check_interval=1.0"),
        *("trainer.check_val_every_n_epoch=2", "trainer.accumulate_grad_batches=2"),
    ),
    "no step but the last is validated": (
        *MOONS,
        *("trainer.max_steps=22", "trainer.max_epochs=-1", "trainer.val_check_interval=1.0"),
        "trainer.check_val_every_n_epoch=2",
    ),
    "dropout on overfitting": (
        *MOONS,
        *("callbacks=posterior", "callbacks.progress=null", "model.subnet.dropout=0.0"),
        *("callbacks.dropout.patience=1", "callbacks.dropout.margin=0.0", "optimizer.lr=0.05"),
        *("callbacks.dropout.rates=[0.1,0.2]", "callbacks.early_stopping.patience=4"),
        *("trainer.max_steps=60", "trainer.val_check_interval=3"),
    ),
    "noise in the data": (
        *COMMON,
        *("+experiment=dispersion_noise", "data.n=60", "data.n_test=10", "data.batch_size=10"),
        *("data.cache_dir=null", "model.depth=1", "model.hidden=[4]", "trainer.max_time=null"),
        *("trainer.max_steps=14", "trainer.max_epochs=-1", "trainer.val_check_interval=4"),
        "trainer.check_val_every_n_epoch=null",
    ),
    "pixels read by a worker, varied and dequantised": (
        *COMMON,
        *("+experiment=cats_ood", "data.root=PHOTOGRAPHS", "data.cache_dir=PHOTOGRAPHS/cache"),
        *(
            "companions.general=null",
            "data.size=8",
            "data.batch_size=8",
            "data.workers=1",
            "data.augment=[flip,rotate]",
        ),
        *("model.levels=2", "model.depth=1", "model.hidden=8", "precision=32"),
        *("trainer.max_steps=11", "trainer.max_epochs=-1", "trainer.val_check_interval=1.0"),
        *("trainer.check_val_every_n_epoch=2", "trainer.max_time=null"),
    ),
}
STATES = ("state_dict", "optimizer_states", "lr_schedulers", "callbacks", "global_step", "resume")


def rows_of(run_dir: Path) -> list[dict[str, str]]:
    """Rows of metrics.csv, without the seconds."""
    with (run_dir / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k != "time/seconds"} for row in rows]


def saved(run_dir: Path, which: str = "last") -> dict[str, Any]:
    """What a checkpoint holds, without what differs between folders and clocks."""
    checkpoint = torch.load(run_dir / f"checkpoints/{which}.ckpt", weights_only=True)
    checkpoint["callbacks"].pop("Clock")
    for name in [*checkpoint["callbacks"]]:
        if "ModelCheckpoint" in name:
            state = checkpoint["callbacks"].pop(name)
            checkpoint["callbacks"]["best"] = state["best_model_score"]
    row = checkpoint["resume"]["row"] or {}
    row.pop("time/seconds", None)
    return checkpoint


def same(one: Any, other: Any, path: str = "") -> None:
    """Fail unless two checkpoints are equal in every number."""
    assert type(one) is type(other), path
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            same(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), path
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            same(a, b, f"{path}[{index}]")
    elif isinstance(one, Tensor):
        assert torch.equal(one, other), path
    else:
        assert one == other, path


def check_same_end(run_dir: Path, whole: Path) -> None:
    for which in ("last", "best"):
        ours, theirs = saved(run_dir, which), saved(whole, which)
        for key in STATES + (("current_model_state",) if "current_model_state" in ours else ()):
            same(ours[key], theirs[key], f"{which}.{key}")
    assert rows_of(run_dir) == rows_of(whole)


@pytest.fixture(scope="module")
def overrides_of(photographs) -> Callable[[str], list[str]]:
    """Return what a scenario's run is given."""
    return lambda name: [o.replace("PHOTOGRAPHS", str(photographs)) for o in SCENARIOS[name]]


@pytest.fixture(scope="module")
def whole_runs(overrides_of, tmp_path_factory) -> Callable[..., Path]:
    """Return the folder of a scenario's run that was never stopped."""
    folder, known = tmp_path_factory.mktemp("whole"), {}

    def get(name: str, *more: str) -> Path:
        key = (name, *more)
        if key not in known:
            known[key] = folder / str(len(known))
            train(known[key], *overrides_of(name), *more)
        return known[key]

    return get


def kill(step: int, signum: int) -> list[str]:
    """Overrides of a run that gets a signal."""
    node = {"_target_": "run.test_resume.StopAt", "step": step, "signum": int(signum)}
    return [f"+callbacks.kill.{key}={value}" for key, value in node.items()]


def stop(run_dir: Path, step: int, signum: int, *overrides: str) -> int:
    """Run until a signal stops it; return the step at which it was saved."""
    with pytest.raises(Stopped) as stopped:
        train(run_dir, *overrides, *kill(step, signum))
    assert stopped.value.code == 128 + signum
    return int(saved(run_dir)["global_step"])


@pytest.mark.representatives("validation across epochs")
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_run_stopped_twice_is_the_one_that_never_was(
    scenario, overrides_of, whole_runs, tmp_path
):
    whole, overrides = whole_runs(scenario), overrides_of(scenario)
    steps = int(saved(whole)["global_step"])
    chosen = random.Random(scenario)
    first = chosen.randrange(steps // 2)
    second = chosen.randrange(steps // 2 + 1, steps - 1)
    run_dir = tmp_path / "run"
    assert stop(run_dir, first, signal.SIGTERM, *overrides) == first + 1
    assert stop(run_dir, second, signal.SIGINT, *overrides, "ckpt=last") == second + 1
    train(run_dir, *overrides, "ckpt=last")
    check_same_end(run_dir, whole)


@pytest.mark.extended
@pytest.mark.parametrize(
    "scenario", ["validation across epochs", "no step but the last is validated"]
)
def test_a_run_that_ended_goes_on_to_a_later_end(scenario, overrides_of, whole_runs, tmp_path):
    """In an epoch, at its end, with a validation and without; the rate must not know the end."""
    constant = "schedule=constant"
    whole, run_dir = whole_runs(scenario, constant), tmp_path / "run"
    ckpt: list[str] = []
    for steps in (5, 11, 15, int(saved(whole)["global_step"])):
        train(run_dir, *overrides_of(scenario), constant, f"trainer.max_steps={steps}", *ckpt)
        assert saved(run_dir)["global_step"] == steps
        ckpt = ["ckpt=last"]
    check_same_end(run_dir, whole)


@pytest.mark.representatives("5")
@pytest.mark.parametrize("minutes", [0, 5])
def test_a_killed_run_goes_on_from_what_was_saved(minutes, overrides_of, whole_runs, tmp_path):
    """With a checkpoint a step, or only those of validations: what came after is done again."""
    scenario, run_dir = "validation across epochs", tmp_path / "run"
    overrides = overrides_of(scenario)
    child = os.fork()
    if child == 0:
        train(run_dir, *overrides, f"callbacks.last.minutes={minutes}", *kill(18, signal.SIGKILL))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert saved(run_dir)["global_step"] == (16 if minutes else 18)
    assert int(rows_of(run_dir)[-1]["step"]) == 17
    train(run_dir, *overrides, "ckpt=last")
    check_same_end(run_dir, whole_runs(scenario))


def test_a_run_killed_before_its_first_checkpoint_starts_again(
    overrides_of, whole_runs, tmp_path, capfd
):
    scenario, run_dir = "validation across epochs", tmp_path / "run"
    child = os.fork()
    if child == 0:
        train(run_dir, *overrides_of(scenario), *kill(3, signal.SIGKILL))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    (run_dir / "checkpoints").mkdir(exist_ok=True)
    (run_dir / "checkpoints/best.ckpt").touch()  # killed between the best and the last one
    (run_dir / "metrics.csv").write_text("step\n0\n")
    capfd.readouterr()
    train(run_dir, *overrides_of(scenario), "ckpt=last")
    line = f"run_dir={run_dir}: ended before it saved last.ckpt, starts again from step 0"
    assert capfd.readouterr().out.splitlines()[0] == line
    check_same_end(run_dir, whole_runs(scenario))
    assert {path.name for path in (run_dir / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}


@pytest.mark.extended
def test_a_closed_terminal_stops_a_run_unless_it_is_under_nohup(tmp_path, monkeypatch):
    scenario = [*MOONS, "trainer.max_steps=3", "trainer.val_check_interval=2"]
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    try:
        assert stop(tmp_path / "run", 0, signal.SIGHUP, *scenario) == 1
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        train(tmp_path / "nohup", *scenario, *kill(0, signal.SIGHUP))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert saved(tmp_path / "nohup")["global_step"] == 3


class Poison(pl.Callback):
    """Makes the batch of a step NaN."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: pl.Trainer, _: Any, batch: Any, *rest: Any) -> None:
        if trainer.global_step == self.step:
            batch["x"].fill_(float("nan"))


def test_a_loss_that_is_not_finite_after_a_resume_names_the_last_checkpoint(tmp_path, refused):
    scenario = [*MOONS, "trainer.max_steps=4", "trainer.val_check_interval=2"]
    train(tmp_path, *scenario)
    poison = ["+callbacks.poison._target_=run.test_resume.Poison", "+callbacks.poison.step=5"]
    with refused("stopped at step 5", f"last good checkpoint: {tmp_path}/checkpoints/last.ckpt"):
        train(tmp_path, *scenario, *poison, "ckpt=last", "trainer.max_steps=8")


def test_a_run_that_stopped_early_stays_where_it_is(tmp_path):
    run_dir = tmp_path / "run"
    early = [*MOONS, "callbacks=posterior", "callbacks.dropout=null", "callbacks.progress=null"]
    early += ["callbacks.early_stopping.patience=2", "+callbacks.early_stopping.min_delta=1e9"]
    early += ["trainer.max_steps=40", "trainer.val_check_interval=4"]
    train(run_dir, *early)
    before, rows = saved(run_dir), rows_of(run_dir)
    assert before["global_step"] == 12
    train(run_dir, *early, "ckpt=last")
    same(saved(run_dir)["state_dict"], before["state_dict"])
    assert saved(run_dir)["global_step"] == 12
    assert rows_of(run_dir) == rows


@pytest.mark.extended
def test_the_run_folder_shows_how_to_resume(command, whole_runs, overrides_of):
    """`run_dir=DIR ckpt=last` is enough, where the folder lies now; the signal is in the code."""
    scenario = "validation in every second epoch"
    overrides = overrides_of(scenario)
    answer = command("innflow-train", *overrides, "run_dir=first", *kill(17, signal.SIGTERM))
    assert answer.code == 128 + signal.SIGTERM
    assert answer.err.splitlines()[-1].endswith(
        "stopped by SIGTERM at step 18; ckpt=last continues from there"
    )
    Path("first").rename("moved")
    went_on = command("innflow-train", "run_dir=moved", "ckpt=last", "callbacks.kill=null")
    assert went_on.code == 2
    assert "names the code run.test_resume.Draws; if you trust it" in went_on.err
    trusted = "callbacks.draws._target_=run.test_resume.Draws"
    assert went_on.err.strip().endswith(f"add {trusted}")
    again = command("innflow-train", "run_dir=moved", "ckpt=last", "callbacks.kill=null", trusted)
    assert again.code == 0, again.err
    assert not Path("first").exists()
    check_same_end(Path("moved"), whole_runs(scenario))
    config = yaml.safe_load(Path("moved/config.yaml").read_text())
    assert config["callbacks"]["ema"]["decay"] == 0.9
    assert config["trainer"]["max_steps"] == 31
    assert config["callbacks"]["last"]["dirpath"] == str(Path("moved/checkpoints").absolute())


@pytest.mark.extended
def test_changes_that_a_resumed_run_cannot_have_are_refused_in_one_line(command):
    small = [o for o in MOONS if "draws" not in o]
    answer = command("innflow-train", *small, "run_dir=run", "trainer.max_steps=4")
    assert answer.code == 0, answer.err
    files = {p: p.read_bytes() for p in Path("run").rglob("*") if p.is_file()}
    refusals = {
        "model.depth=2": "its weights do not fit this model",
        "optimizer.lr=0.1": "resumes with the optimizer of the run",
        "seed=3": "resumes with the seed of the run",
        "nonsense=3": "nonsense is unknown",
    }
    for override, reason in refusals.items():
        answer = command("innflow-train", "run_dir=run", "ckpt=last", override)
        assert answer.code == 2
        assert "Traceback" not in answer.err
        assert reason in answer.err.splitlines()[-1]
    assert {p: p.read_bytes() for p in Path("run").rglob("*") if p.is_file()} == files

    longer = command("innflow-train", "run_dir=run", "ckpt=last", "trainer.max_steps=6")
    assert longer.code == 0, longer.err
    assert saved(Path("run"))["global_step"] == 6
    then = yaml.safe_load(Path("run/overrides.yaml").read_text())
    assert {"+experiment=moons", "trainer.max_steps=6"} < set(then)
    assert "trainer.max_steps=4" not in then
