"""A bucket whose server dies, or stops to answer, at a random moment."""

from __future__ import annotations

import os
import random
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
from aws import lead_to, serving
from tiny import TINY_IMAGES

from chaos.conftest import QUIET
from chaos.explore import run_cases
from chaos.process import Place
from chaos.sandbox import REFUSED, WORKED, Short, check_refusal
from chaos.settings import KILLS, SEED

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

SMALL = [each for each in TINY_IMAGES if not each.startswith("analysis")]
TRAIN = ("innflow-train", *SMALL, *QUIET, "analysis=none", "data.root=s3://photographs/cats")


@contextmanager
def server(photographs: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Serve the photographs from a process of its own; yield its id."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        with serving() as address:
            os.write(tell, address.encode())
            select.select([], [], [])
    try:
        lead_to(os.read(told, 1000).decode(), monkeypatch)
        client = boto3.client("s3")
        client.create_bucket(Bucket="photographs")
        for path in photographs.rglob("*.png"):
            key = f"cats/{path.relative_to(photographs).as_posix()}"
            client.put_object(Bucket="photographs", Key=key, Body=path.read_bytes())
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(told)
        os.close(tell)


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSTOP])
def test_a_server_is_lost(signum, photographs, tmp_path, monkeypatch):
    with server(photographs, monkeypatch):
        place = Place(tmp_path / "whole")
        started = time.monotonic()
        answer = place.start(*TRAIN, "run_dir=run").end()
        assert answer.code == 0, answer.err
        seconds = time.monotonic() - started

    def one(case: int) -> str:
        moments = random.Random(f"{SEED} {signum} {case}")
        place = Place(tmp_path / "place")
        with server(photographs, monkeypatch) as pid:
            process = place.start(*TRAIN, "run_dir=run")
            process.wait(moments.uniform(0, seconds))
            os.kill(pid, signum)
            answer = process.end(100)
        place.check(answer)
        if answer.code == 0:
            return WORKED
        check_refusal(answer)
        if place.run.exists() and not (place.run / "checkpoints").exists():
            raise Short(f"left {sorted(path.name for path in place.run.iterdir())}")
        return REFUSED

    names = {signal.SIGKILL: "ended", signal.SIGSTOP: "no longer answering"}
    run_cases(f"server of a bucket {names[signum]}", max(1, KILLS // 6), one)
