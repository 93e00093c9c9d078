"""A Slurm of one node for all tests of this folder, and innflow-train on it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

SCRIPT = Path(__file__).with_name("slurm_local.sh")
DAEMONS = ("munged", "slurmctld", "slurmd", "srun")
TRAIN = (sys.executable, "-c", "from innflow.command.main import train; train()", "-m")
SMALL = (
    *("hydra/launcher=slurm", "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=1"),
    *("trainer.accelerator=cpu", "+experiment=moons", "model.depth=2", "model.hidden=[8]"),
    *("data.n=600", "data.n_test=40", "data.batch_size=60", "analysis=none", "score=none"),
    *("trainer.log_every_n_steps=1", "trainer.enable_progress_bar=false"),
)


def installed() -> bool:
    """Whether the packages are there that slurm_local.sh installs."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    return all(shutil.which(name, path=path) for name in DAEMONS)


def wait_until(holds: Callable[[], object], what: str, seconds: float = 600) -> None:
    """Poll for a condition."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited {seconds} seconds for: {what}"
        time.sleep(0.05)


class Ended(NamedTuple):
    """What a sweep has left on the terminal."""

    code: int
    out: str
    err: str


class Sweep:
    """A sweep that runs on Slurm."""

    def __init__(self, slurm: dict[str, str], folder: Path, *overrides: str) -> None:
        self.slurm, self.folder = slurm, folder
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        command = [*TRAIN, *SMALL, f"hydra.sweep.dir={folder}", *overrides]
        self.process = subprocess.Popen(command, env=slurm, cwd=folder.parent, **pipes)

    def end(self) -> Ended:
        """Wait for all jobs."""
        out, err = self.process.communicate(timeout=600)
        return Ended(self.process.returncode, out, err)

    def ask(self, *command: str) -> str:
        """Ask a command of Slurm."""
        done = subprocess.run(
            command, env=self.slurm, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout

    def job(self, number: int) -> str:
        """Return Slurm's id of a job, which is one of an array unless it is alone."""
        lines = self.ask("scontrol", "show", "job", "-o").splitlines()
        own = [line for line in lines if f"WorkDir={self.folder.parent} " in f"{line} "]
        places = ("", str(number))
        return next(field(line, "JobId") for line in own if field(line, "ArrayTaskId") in places)

    def state(self, number: int, key: str = "JobState") -> str:
        """Return what Slurm says of a job."""
        return field(self.ask("scontrol", "show", "job", "-o", self.job(number)), key)

    def logged(self, number: int) -> str:
        """Return what a job has written on stderr."""
        logs = self.folder.glob(".submitit/*/*_log.err")
        own = (p for p in logs if p.parent.name.partition("_")[2] in ("", str(number)))
        return "".join(path.read_text() for path in own)

    def wait_for(self, holds: Callable[[], object], what: str) -> None:
        """Wait for a condition while the sweep runs; fail with its output if it ends before."""
        wait_until(lambda: self.process.poll() is not None or holds(), what)
        assert self.process.poll() is None, self.process.communicate()

    def wait_for_steps(self, number: int) -> None:
        """Wait until a job trains: it writes its metrics every 20 steps."""
        path = self.folder / str(number) / "metrics.csv"
        self.wait_for(lambda: path.is_file() and path.stat().st_size, f"steps of job {number}")


def field(line: str, key: str) -> str:
    """Return a value of a line of `scontrol show job -o`."""
    return next((part.partition("=")[2] for part in line.split() if part.startswith(f"{key}=")), "")


@pytest.fixture(scope="session")
def slurm() -> Iterator[dict[str, str]]:
    """The environment of clients of a Slurm of our own."""
    # munged wants the folders above its socket searchable by all, which pytest's are not.
    folder = Path(tempfile.mkdtemp(prefix="innflow-slurm-"))
    folder.chmod(0o755)
    env = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
    ports = dict(zip(("SLURM_TEST_CTLD_PORT", "SLURM_TEST_D_PORT"), free_ports(2), strict=True))
    env |= {**ports, "SLURM_TEST_CPUS": "4", "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    env.pop("INNFLOW_STAMP", None)
    env["PYTHONPATH"] = str(SCRIPT.parent)  # where hold.py is
    env |= {"LOCAL_RANK": "0", "NODE_RANK": "0"}  # as a process has them that has trained by DDP
    here = folder / "slurm"
    start = subprocess.run([SCRIPT, "start", here], env=env, capture_output=True, text=True)
    assert start.returncode == 0, start.stderr
    path = f"{here / 'bin'}:{env['PATH']}"
    yield {**env, "SLURM_CONF": str(here / "slurm.conf"), "PATH": path}
    subprocess.run([SCRIPT, "stop", here], env=env, check=True, timeout=120)
    shutil.rmtree(folder)


def free_ports(count: int) -> list[str]:
    """Return ports of the loopback device that nothing listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [str(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


@pytest.fixture
def sweep(slurm, tmp_path) -> Iterator[Callable[..., Sweep]]:
    """Return `sweep(*overrides)`, which starts innflow-train -m on Slurm."""
    started: list[Sweep] = []

    def start(*overrides: str) -> Sweep:
        started.append(Sweep(slurm, tmp_path / "sweep", *overrides))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.communicate()
    if started:
        started[0].ask("scancel", "--user", str(os.getuid()))
