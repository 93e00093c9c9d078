"""Kills, full disks and read-only folders leave the last checkpoint whole."""

from __future__ import annotations

import os
import random
import resource
import select
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from ranks import TWO, run_command
from small import plain_config, train_quietly
from tiny import train

from innflow.callback import AtomicCheckpointIO, LastCheckpoint
from innflow.data.toy.clouds import Toy
from innflow.run.checkpoint import read_checkpoint
from innflow.run.folder import claim
from innflow.run.load import assemble, load
from innflow.system.file import atomic

MOONS = (
    *("+experiment=moons", "data.n=240", "data.n_test=20", "data.batch_size=20", "model.depth=1"),
    *("model.hidden=[4]", "analysis=none", "score=none", "trainer.enable_progress_bar=false"),
    *("trainer.max_steps=8", "trainer.val_check_interval=3", "trainer.log_every_n_steps=1"),
    "callbacks.last.minutes=0",
)


def train_for_ever(run_dir: Path, ready: int) -> None:
    """Train with a checkpoint a step; say so after the third."""

    class Ready(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            if trainer.global_step == 3:
                os.write(ready, b"!")

    torch.set_num_threads(1)
    app = assemble(plain_config(), {"x": (2,)})
    app.config = plain_config()
    last = LastCheckpoint(str(run_dir / "checkpoints"), minutes=0)
    data = Toy("moons", n=200, n_test=50, batch_size=64)
    with claim(run_dir, resume=True):
        train_quietly(
            *(app, data),
            callbacks=[last, Ready()],
            plugins=[AtomicCheckpointIO()],
            limit_val_batches=0,
            enable_checkpointing=True,
        )


@pytest.mark.slow
def test_a_run_killed_at_any_moment_leaves_a_whole_checkpoint(tmp_path):
    moments, half_written = random.Random(0), 0
    run_dir = tmp_path / "run"
    for _ in range(30):
        watch, ready = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                train_for_ever(run_dir, ready)
            finally:
                os._exit(1)
        os.close(ready)
        assert select.select([watch], [], [], 60)[0], "it did not train"
        assert os.read(watch, 1) == b"!"
        # Not a wait for anything: the moment itself is what is drawn.
        select.select([], [], [], moments.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        os.close(watch)
        saved = read_checkpoint(run_dir / "checkpoints/last.ckpt")
        assert saved["global_step"] >= 2
        assert load(run_dir, "last").log_prob(torch.zeros(1, 2)).isfinite().all()
        half_written += any((run_dir / "checkpoints").glob(".last.ckpt.*.partial"))
        with claim(run_dir, resume=True):
            left = {path.name for path in (run_dir / "checkpoints").iterdir()}
        assert left == {"last.ckpt"}
    assert half_written, "none of the moments was in the middle of saving"


class Spoil(pl.Callback):
    """From a step on, what is written instead of the next checkpoint finds the disk full."""

    def __init__(self, step: int, folder: str) -> None:
        self.step, self.folder = step, Path(folder)

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            (self.folder / ".last.ckpt.full.partial").symlink_to("/dev/full")


def test_a_full_disk_ends_a_run_that_can_go_on(tmp_path, refused, monkeypatch):
    monkeypatch.setattr(atomic, "uuid4", lambda: SimpleNamespace(hex="full"))
    whole, run_dir = tmp_path / "whole", tmp_path / "run"
    train(whole, *MOONS)
    spoil = ["+callbacks.spoil._target_=run.test_faults.Spoil", "+callbacks.spoil.step=5"]
    spoil += [f"+callbacks.spoil.folder={run_dir}/checkpoints"]
    with refused(
        "last.ckpt: cannot be written (No space left on device)", "the previous one is kept"
    ):
        train(run_dir, *MOONS, *spoil)
    assert {p.name for p in (run_dir / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"}
    assert read_checkpoint(run_dir / "checkpoints/last.ckpt")["global_step"] == 5
    train(run_dir, *MOONS, "ckpt=last")
    ours, theirs = (
        read_checkpoint(folder / "checkpoints/last.ckpt")["state_dict"]
        for folder in (run_dir, whole)
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


class Fault(pl.Callback):
    """What happens at the beginning of the sixth step."""

    def __init__(self, kind: str, folder: str = "") -> None:
        self.kind, self.folder = kind, folder

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step != 5:
            return
        if self.kind == "memory":
            torch.empty(10**14)
        elif self.kind == "setting":
            raise MisconfigurationException("these two\nexclude each other")
        elif self.kind == "removed":
            shutil.rmtree(self.folder)
        elif self.kind == "bug":
            raise KeyError("token=abcdef0123456789")
        elif trainer.global_rank == int(self.kind):
            os.kill(os.getpid(), signal.SIGKILL)


def fault(kind: str) -> list[str]:
    node = {"_target_": "run.test_faults.Fault", "kind": f"'{kind}'", "folder": "${run_dir}"}
    return [f"+callbacks.fault.{key}={value}" for key, value in node.items()]


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("memory", "out of memory in innflow."),
        ("setting", "trainer: these two exclude each other"),
    ],
)
def test_a_fault_in_training_is_one_line_with_the_step_to_continue_from(kind, says, command):
    answer = command("innflow-train", *MOONS, "run_dir=run", *fault(kind))
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert line.startswith(f"innflow-train: error: {says}")
    assert line.endswith(f"run_dir={Path('run').absolute()} ckpt=last continues from step 5")


def test_a_removed_run_folder_ends_the_run_and_stays_away(command):
    answer = command("innflow-train", *MOONS, "run_dir=run", *fault("removed"))
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert line.endswith(
        "cannot be written (No such file or directory); the run folder was removed"
    )
    assert list(Path().iterdir()) == []


def test_a_bug_keeps_its_traceback_without_secrets(command):
    answer = command("innflow-train", *MOONS, "run_dir=run", *fault("bug"))
    assert answer.code == 1
    assert answer.err.splitlines()[0] == "Traceback (most recent call last):"
    assert "abcdef0123456789" not in answer.err
    assert "ckpt=last continues from step 5" in answer.err


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_is_named_in_one_line(rank, strategy, tmp_path):
    run_dir = tmp_path / "here/run"
    done = run_command(run_dir, *MOONS, *TWO, f"strategy={strategy}", *fault(str(rank)))
    lines = [line for line in done.stderr.splitlines() if "error" in line or "Traceback" in line]
    assert len(lines) == 1, done.stderr
    named = "" if (rank, strategy) == (0, "ddp") else " by SIGKILL"
    assert lines[0] == (
        f"innflow-train: error: rank {rank} ended{named}, and training with it; "
        f"run_dir={run_dir} ckpt=last continues from step 5"
    )
    assert done.returncode != 0


@contextmanager
def file_size(limit: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes; Python turns the signal into an error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("limit", [0, 1, 4096, 200_000])
def test_a_checkpoint_that_does_not_fit_leaves_the_one_before(limit, tmp_path, refused):
    path = tmp_path / "checkpoints" / "last.ckpt"
    small, large = ({"weight": torch.zeros(n)} for n in (1, 100_000))
    io = AtomicCheckpointIO()
    with refused("cannot be written (File too large)", "no previous one"), file_size(limit):
        io.save_checkpoint(large, path)
    io.save_checkpoint(small, path)
    with refused(f"{path}: cannot be written (File too large)", "is kept"), file_size(limit):
        io.save_checkpoint(large, path)
    assert [each.name for each in path.parent.iterdir()] == ["last.ckpt"]
    assert torch.equal(torch.load(path, weights_only=True)["weight"], torch.zeros(1))


def test_what_cannot_be_saved_at_all_is_no_matter_of_the_disk(tmp_path):
    with pytest.raises(AttributeError):
        AtomicCheckpointIO().save_checkpoint({"bug": lambda: 0}, tmp_path / "last.ckpt")


@contextmanager
def read_only() -> Iterator[Path]:
    """Give a folder that this process may not write to, root or not."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Path(folder, "run", "checkpoints")
        checkpoints.mkdir(parents=True)
        AtomicCheckpointIO().save_checkpoint({"weight": torch.ones(1)}, checkpoints / "last.ckpt")
        for each in (checkpoints, checkpoints.parent):
            each.chmod(0o555)
        Path(folder).chmod(0o755)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield checkpoints.parent
        finally:
            os.seteuid(user)
            for each in (checkpoints.parent, checkpoints):
                each.chmod(0o755)


def test_a_folder_that_is_read_only_is_refused_and_kept(refused):
    with read_only() as run_dir:
        with refused(f"run_dir={run_dir}: cannot be written (Permission denied)"):
            train(run_dir, *MOONS, "ckpt=last")
        path = run_dir / "checkpoints/last.ckpt"
        with refused(f"{path}: cannot be written (Permission denied)", "is kept"):
            AtomicCheckpointIO().save_checkpoint({"weight": torch.zeros(1)}, path)
        assert torch.load(path, weights_only=True)["weight"] == 1


def test_a_lock_dies_with_its_process_and_not_with_its_workers(tmp_path, refused):
    """Workers that were forked outlive a killed process for a while."""
    run_dir, (watch, ready), (stay, leave) = tmp_path / "run", os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        os.close(leave)
        with claim(run_dir):
            (run_dir / "config.yaml").touch()
            if os.fork() == 0:
                os.write(ready, b"!")
                os.read(stay, 1)  # until the test lets go
                os._exit(0)
            signal.pause()
    assert os.read(watch, 1) == b"!"
    with refused("another process is using it"), claim(run_dir, resume=True):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with claim(run_dir, resume=True):
        pass
    os.close(leave)


def test_leftovers_of_a_killed_save_are_removed_at_the_next_start(tmp_path):
    leftovers = [
        tmp_path / ".metrics.json.1f.partial",
        tmp_path / "checkpoints/.best.ckpt.2.partial",
    ]
    kept = tmp_path / "checkpoints/last.ckpt"
    kept.parent.mkdir()
    for path in (*leftovers, kept):
        path.touch()
    with claim(tmp_path, resume=True):
        assert not any(path.exists() for path in leftovers)
        assert kept.exists()
