"""Processes to which something happens at a random moment, and runs that go on from there."""

from __future__ import annotations

import json
import os
import random
import select
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from run.test_resume import check_same_end

from chaos.conftest import QUIET
from chaos.explore import run_cases
from chaos.process import Place, Process, obey_permissions
from chaos.sandbox import REFUSED, WORKED, Short, check_refusal, require
from chaos.settings import KILLS, SEED

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

ARGUMENTS = (
    *("innflow-train", "+experiment=moons", "data.n=240", "data.n_test=20", "data.batch_size=20"),
    *("model.depth=1", "model.hidden=[4]", "model.subnet.dropout=0.1", "analysis=none", *QUIET),
    *("trainer.max_steps=30", "trainer.val_check_interval=4", "trainer.log_every_n_steps=3"),
    "run_dir=run",
)
SAVING = ("callbacks.last.minutes=0", "callbacks.last.minutes=5")
"""A checkpoint after every step, or after validations only."""


class Whole(NamedTuple):
    """A run that was not stopped."""

    folder: Path
    seconds: float


def same_end(run: Path, whole: Path) -> None:
    """Check that a run that went on has the weights and metrics of one that was not stopped."""
    try:
        check_same_end(run, whole)
    except (AssertionError, KeyError, OSError) as error:
        raise Short(f"another end: {str(error).splitlines()[:1]}") from None
    ours, theirs = (json.loads((folder / "metrics.json").read_text()) for folder in (run, whole))
    different = [n for n in theirs if not n.startswith("time/") and ours.get(n) != theirs[n]]
    require(not different, f"other metrics: {different}")
    with np.load(run / "scores.npz") as mine, np.load(whole / "scores.npz") as its:
        require(mine.files == its.files, "other scores")
        require(all(np.array_equal(mine[n], its[n]) for n in its.files), "other scores")
    left = [path.name for path in run.rglob("*.partial")]
    require(not left, f"left {left}")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Whole:
    """Return the run that was not stopped; the second, as the first is slower."""
    for _ in range(2):
        place = Place(tmp_path_factory.mktemp("whole"))
        started = time.monotonic()
        answer = place.start(*ARGUMENTS, SAVING[0]).end()
        assert answer.code == 0, answer.err
        seconds = time.monotonic() - started
    return Whole(place.run, seconds)


FAULTS = ("kill",) * 6 + ("term", "hup", "int", "full", "read only", "slow disk")


def strike(process: Process, place: Place, fault: str) -> None:
    """Let something happen to a process."""
    if fault in ("kill", "slow disk"):
        process.send(signal.SIGKILL)
    elif fault == "full":
        process.limit_files(0)
    elif fault == "read only":
        for folder in (*place.run.glob("*/"), place.run):
            if folder.is_dir():
                folder.chmod(0o555)
    else:
        process.send(getattr(signal, f"SIG{fault.upper()}"))


def slow_disk() -> None:
    """Let every flush to the disk take a while: moments within a save become likely."""
    flush = os.fsync

    def slowly(file: int) -> None:
        select.select([], [], [], 0.05)
        flush(file)

    os.fsync = slowly


def one_case(place: Place, whole: Whole, moments: random.Random, fault: str) -> str:
    """Stop a run once or twice, go on, and compare its end with that of the whole run."""
    saving = moments.choice(SAVING)
    before = {"read only": obey_permissions, "slow disk": slow_disk}.get(fault)
    outcome = WORKED
    for _ in range(moments.choice((1, 1, 2))):
        ckpt = ["ckpt=last"] if (place.run / "config.yaml").exists() else []
        if not ckpt:
            shutil.rmtree(place.run, ignore_errors=True)
        process = place.start(*ARGUMENTS, saving, *ckpt, before=before)
        process.wait(moments.uniform(0, 1.2 * whole.seconds))
        strike(process, place, fault)
        answer = process.end()
        for folder in (place.run, *place.run.glob("*/")):
            if folder.is_dir():
                folder.chmod(0o755)
        place.check(answer)
        if fault in ("kill", "slow disk"):
            require(answer.code in (0, -signal.SIGKILL), f"exit code {answer.code}")
        elif fault in ("full", "read only"):
            if answer.code != 0:
                check_refusal(answer)
        elif answer.code != 0:
            signum = int(getattr(signal, f"SIG{fault.upper()}"))
            require(
                answer.code in (-signum, 128 + signum), f"exit code {answer.code}: {answer.err}"
            )
            if answer.code > 0:
                check_refusal(answer)
                left = [path.name for path in place.run.rglob("*.partial")]
                require(not left, f"left {left}")
        if answer.code != 0:
            outcome = REFUSED
    if (place.run / "config.yaml").exists():
        answer = place.start("innflow-train", "run_dir=run", "ckpt=last").end()
    else:  # stopped before anything was written
        shutil.rmtree(place.run, ignore_errors=True)
        answer = place.start(*ARGUMENTS, saving).end()
    require(answer.code == 0, f"does not go on: {answer.code} {answer.err[-300:]}")
    place.check(answer)
    same_end(place.run, whole.folder)
    return outcome


@pytest.mark.parametrize("fault", dict.fromkeys(FAULTS))
def test_a_run_goes_on_after(fault, whole, tmp_path):
    number = max(1, round(KILLS * FAULTS.count(fault) / len(FAULTS)))

    def one(case: int) -> str:
        place = Place(tmp_path / "place")
        return one_case(place, whole, random.Random(f"{SEED} {fault} {case}"), fault)

    run_cases(f"training stopped: {fault}", number, one)


RANKS = ("trainer.accelerator=cpu", "trainer.devices=2", "trainer.strategy=ddp")


def two(place: Place, saving: str, *more: str) -> list[Process]:
    """Start a run on two ranks."""
    from lightning_fabric.plugins.environments.lightning import find_free_network_port

    port = str(find_free_network_port())
    world = {"WORLD_SIZE": "2", "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    argv = [*ARGUMENTS, *RANKS, saving, *more]
    started = []
    for rank in range(2):
        env = place.env | world | {"LOCAL_RANK": str(rank)}
        started.append(Process(argv, place.here, env, lambda rank=rank: be_rank(rank)))
    return started


def be_rank(rank: int) -> None:
    """Set what Lightning has read at import."""
    from pytorch_lightning.utilities import rank_zero_only

    rank_zero_only.rank = rank


def test_a_rank_is_lost(tmp_path):
    def both(place: Place, *more: str) -> None:
        for process in two(place, SAVING[0], *more):
            answer = process.end()
            require(answer.code == 0, f"two ranks: {answer.code} {answer.err[-300:]}")

    never = Place(tmp_path / "never")
    started = time.monotonic()
    both(never)
    seconds = time.monotonic() - started

    def one(case: int) -> str:
        place, moments = Place(tmp_path / "place"), random.Random(f"{SEED} rank {case}")
        ranks = two(place, SAVING[0])
        lost = moments.randrange(2)
        # Before the ranks have found each other, torch lets them wait for half an hour.
        while not (place.run / "checkpoints").exists() and not ranks[lost].wait(0.02):
            pass
        ranks[lost].wait(moments.uniform(0, seconds / 2))
        ranks[lost].send(signal.SIGKILL)
        ranks[lost].end()
        answer = ranks[1 - lost].end(60)
        place.check(answer)
        if answer.code != 0:
            # torch itself warns of a lost connection, in lines that begin with [rank1]:[W
            own = [line for line in answer.err.splitlines() if line.startswith("innflow")]
            check_refusal(replace(answer, err="\n".join(own)))
        if (place.run / "checkpoints/last.ckpt").exists():
            both(place, "ckpt=last")
            same_end(place.run, never.run)
        return WORKED if answer.code == 0 else REFUSED

    run_cases("one of two ranks lost", max(1, KILLS // 6), one)
