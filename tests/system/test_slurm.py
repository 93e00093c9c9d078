"""A Slurm job that is requeued, with a scontrol that records its calls."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny import train

SMALL = (
    *("+experiment=moons", "model.depth=2", "model.hidden=[8]", "data.n=600", "data.n_test=40"),
    *("data.batch_size=60", "analysis=none", "score=none", "trainer.max_steps=40"),
    *(
        "trainer.accelerator=cpu",
        "trainer.log_every_n_steps=1",
        "trainer.enable_progress_bar=false",
    ),
)
TRAIN = (sys.executable, "-c", "from innflow.command.main import train; train()", *SMALL)


def state_of(run_dir: Path) -> dict:
    return torch.load(run_dir / "checkpoints/last.ckpt", weights_only=True)


@pytest.fixture
def job(tmp_path) -> dict[str, str]:
    """The environment of a job of one task, in which `scontrol` writes down what it is asked."""
    scontrol = tmp_path / "bin/scontrol"
    scontrol.parent.mkdir()
    # As Slurm does, it ends the job at once.
    scontrol.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/asked\nkill -TERM $PPID\n')
    scontrol.chmod(0o755)
    env = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
    env |= {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"}
    env |= {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
    env |= {"SLURM_NTASKS_PER_NODE": "1", "SLURM_NNODES": "1", "SLURM_JOB_NAME": "test"}
    return {**env, "PATH": f"{scontrol.parent}:{env['PATH']}"}


def stop_by(signum: int, job: dict[str, str], run_dir: Path) -> int:
    """Train until the first metrics are written, send a signal and return the exit code."""
    metrics = run_dir / "metrics.csv"
    with subprocess.Popen([*TRAIN, f"run_dir={run_dir}"], env=job, cwd=run_dir.parent) as process:
        while process.poll() is None and not (metrics.is_file() and metrics.stat().st_size):
            time.sleep(0.01)
        process.send_signal(signum)
        return process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGUSR1, signal.SIGTERM])
def test_a_requeued_job_goes_on_as_if_nothing_had_been(signum, job, tmp_path):
    run_dir = tmp_path / "run"
    assert stop_by(signum, job, run_dir) == -signal.SIGTERM  # no result that somebody might take
    asked = tmp_path / "asked"
    if signum == signal.SIGUSR1:
        assert asked.read_text() == "requeue 7_2\n"
    else:
        assert not asked.exists()
    stopped = state_of(run_dir)["global_step"]
    assert 0 < stopped < 40

    command = [*TRAIN, f"run_dir={run_dir}"]
    other = {**job, "SLURM_RESTART_COUNT": "1", "SLURM_ARRAY_TASK_ID": "3"}
    done = subprocess.run(command, env=other, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "holds files already" in done.stderr  # the run of another job

    again = {**job, "SLURM_RESTART_COUNT": "1"}
    done = subprocess.run(command, env=again, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"continues from step {stopped}\n" in done.stderr
    train(tmp_path / "whole", *SMALL)
    expected, last = state_of(tmp_path / "whole"), state_of(run_dir)
    assert last["global_step"] == 40
    assert all(torch.equal(w, last["state_dict"][k]) for k, w in expected["state_dict"].items())
