"""Sweeps on a real Slurm: jobs that return, that are told to leave, and that are killed."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest
import torch
from tiny import train

from slurm.conftest import SMALL, Sweep, installed, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not installed(), reason="needs Slurm: bash tests/slurm/slurm_local.sh install, as root"
    ),
]
STEPS = 300
HOLD = "+callbacks.hold={_target_:hold.Hold,step:40}"


def checkpoint(run_dir: Path) -> dict:
    return torch.load(run_dir / "checkpoints/last.ckpt", weights_only=True)


def processes(job: str) -> list[int]:
    """Return the processes of a job's tasks, without the shell and the srun above them."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            variables = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        own = command.startswith(sys.executable.encode()) and b"submitit.core._submit" in command
        if own and f"SLURM_JOB_ID={job}".encode() in variables:
            found.append(int(folder.name))
    return found


def stopped(process: int) -> bool:
    """Return whether a process is stopped, as `hold.Hold` stops it."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].startswith("T")


def hold(running: Sweep, *numbers: int, tasks: int = 1) -> None:
    """Wait until all tasks of some jobs are stopped in the middle of their training."""

    def held(number: int) -> bool:
        found = processes(running.job(number))
        return len(found) == tasks and all(map(stopped, found))

    for number in numbers:
        running.wait_for_steps(number)
        running.wait_for(lambda number=number: held(number), f"job {number} holds")


def release(job: str) -> None:
    """Let the stopped processes of a job continue."""
    for process in processes(job):
        os.kill(process, signal.SIGCONT)


def test_a_sweep_of_three_jobs_returns(sweep):
    running = sweep("seed=1,2,3", "trainer.max_steps=3", "hydra.launcher.partition=high")
    done = running.end()
    assert done.code == 0, done.err
    assert done.err == ""
    assert "3 jobs submitted to Slurm" in done.out
    values = [
        json.loads((running.folder / f"{n}/metrics.json").read_text())["time/train_seconds"]
        for n in range(3)
    ]
    assert len(set(values)) == 3
    job = {key: running.state(0, key) for key in ("Partition", "TimeLimit", "NumNodes")}
    assert job == {"Partition": "high", "TimeLimit": "01:00:00", "NumNodes": "1"}
    (script,) = running.folder.glob(".submitit/.submission_file_*.sh")
    asked = script.read_text()
    lines = ("--signal=USR1@90", "--cpus-per-task=1", "--mem=1GB", "--ntasks-per-node=1")
    assert all(f"#SBATCH {line}\n" in asked for line in lines), asked
    assert "--gpus-per-node" not in asked


def test_a_killed_job_is_reported_and_the_others_go_on(sweep):
    running = sweep("trainer.max_steps=3,100000000", "seed=1")
    running.wait_for_steps(1)
    (task,) = processes(running.job(1))
    os.kill(task, signal.SIGKILL)
    done = running.end()
    assert done.code == 2
    line, last = done.err.splitlines()
    assert line.startswith("innflow-train: job 1: FAILED (trainer.max_steps=100000000): ")
    assert "ended without a result" in line
    assert last.startswith("innflow-train: error: ")
    assert (running.folder / "0/metrics.json").is_file()
    failure = json.loads((running.folder / "1/failed.json").read_text())
    assert failure["job"] == 1
    assert failure["state"] == "FAILED"


def test_a_job_that_is_told_to_leave_goes_on_as_if_nothing_had_been(sweep, tmp_path):
    """Its time is up, a more urgent job takes its place, somebody requeues it."""
    running = sweep("study.train_limit=100,101,102", f"trainer.max_steps={STEPS}", HOLD)
    hold(running, 0, 1, 2)
    jobs = [running.job(number) for number in range(3)]
    running.ask("scancel", "--signal=USR1", jobs[0])
    array = running.state(2, "ArrayJobId")  # also the id of a job, and alone it means all jobs
    running.ask("scontrol", "requeue", f"{array}_2")
    for number in (0, 2):
        release(jobs[number])
    wait_until(lambda: running.state(0) == running.state(2) == "PENDING", "jobs 0 and 2 leave")
    running.ask("sbatch", "--partition=high", "--ntasks=4", "--output=/dev/null", "--wrap=true")
    wait_until(lambda: running.state(1) != "RUNNING", "job 1 is told to leave")
    release(jobs[1])
    saved = {n: checkpoint(running.folder / str(n))["global_step"] for n in (0, 2)}
    done = running.end()
    assert done.code == 0, done.err

    for number in range(3):
        assert running.state(number, "Restarts") == "1", number
        (begun,) = re.findall(r"continues from step (\d+)", running.logged(number))
        assert 0 < int(begun) < STEPS
        if number in saved:
            assert int(begun) == saved[number]
    assert {path.name for path in running.folder.iterdir() if path.name.isdigit()} == set("012")

    overrides = [each for each in SMALL if not each.startswith("hydra")]
    train(tmp_path / "whole", *overrides, "study.train_limit=100", f"trainer.max_steps={STEPS}")
    expected = checkpoint(tmp_path / "whole")
    for number in range(3):
        last = checkpoint(running.folder / str(number))
        assert last["global_step"] == STEPS
        assert all(torch.equal(w, last["state_dict"][k]) for k, w in expected["state_dict"].items())


def test_two_tasks_train_together_and_leave_together(sweep):
    running: Sweep = sweep("strategy=ddp", "trainer.devices=2", f"trainer.max_steps={STEPS}", HOLD)
    hold(running, 0, tasks=2)
    job = running.job(0)
    running.ask("scancel", "--signal=USR1", job)
    release(job)
    wait_until(lambda: running.state(0) == "PENDING", "the job leaves")
    saved = checkpoint(running.folder / "0")["global_step"]
    done = running.end()
    assert done.code == 0, done.err
    begun = re.findall(r"continues from step (\d+)", running.logged(0))
    assert set(begun) == {str(saved)}
    assert 0 < saved < STEPS
    assert checkpoint(running.folder / "0")["global_step"] == STEPS
    assert (running.folder / "0/metrics.json").is_file()
