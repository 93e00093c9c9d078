"""Slurm jobs: the id of this one, whether it was requeued, and requeueing it."""

import logging
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

log = logging.getLogger(__name__)

LEAVE = signal.SIGUSR1
"""Sent by Slurm ahead of a time limit or a preemption: `signal` in conf/hydra/launcher/slurm."""
REQUEUED = "Job is pending execution"
"""Error of scontrol for a job that has been requeued already, for example by its owner."""


def job_id() -> str | None:
    """Return the id of this Slurm job; None outside Slurm, and in interactive jobs."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None or os.environ.get("SLURM_JOB_NAME") in ("bash", "interactive"):
        return None
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else job


def requeued() -> bool:
    """Return whether Slurm has started this job before."""
    return job_id() is not None and int(os.environ.get("SLURM_RESTART_COUNT") or 0) > 0


@contextmanager
def leaving_on_signal() -> Iterator[None]:
    """Requeue a Slurm job when it receives a signal within this block.

    Without a handler the signal would end the job. In training, `innflow.callback.Requeue` replaces
    the handlers by ones that save first.
    """
    if job_id() is None:
        yield
        return
    before = {each: signal.signal(each, _leave) for each in (LEAVE, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _leave(signum: int, frame: FrameType | None) -> None:
    if signum == signal.SIGTERM:
        end()
    # One task requeues the job: Slurm ends the others with it.
    if os.environ.get("SLURM_PROCID", "0") == "0" and requeue():
        end()


def end() -> NoReturn:
    """End this process by SIGTERM.

    An exception would be recorded as the result of the job, although the job runs again.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while True:
        os.kill(os.getpid(), signal.SIGTERM)


def requeue() -> bool:
    """Requeue this job; return whether it is requeued."""
    command = ["scontrol", "requeue", str(job_id())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        reason = str(error)
    else:
        if done.returncode == 0 or REQUEUED in done.stderr:
            return True
        reason = " ".join(done.stderr.split())
    log.warning("%s failed (%s): the job continues to its end", " ".join(command), reason)
    return False
