"""The commands on a bucket of a real server on loopback."""

from __future__ import annotations

import csv
import socket
import time
from pathlib import Path

import boto3
import pytest
from aws import lead_to, serving
from tiny import TINY_IMAGES


@pytest.fixture
def bucket(command, photographs, monkeypatch):
    """The photographs as s3://photographs/cats, for the commands of this test."""
    with serving() as server:
        lead_to(server, monkeypatch)
        client = boto3.client("s3")
        client.create_bucket(Bucket="photographs")
        for path in photographs.rglob("*.png"):
            key = f"cats/{path.relative_to(photographs).as_posix()}"
            client.put_object(Bucket="photographs", Key=key, Body=path.read_bytes())
        yield "s3://photographs/cats"


def test_train_and_score_from_a_bucket(bucket, command, image_run, photographs):
    answer = command(
        *("innflow-train", *TINY_IMAGES, f"data.root={bucket}", "run_dir=run"),
        *("analysis.latent_cloud=null", "analysis.interpolation=null", "analysis.samples=null"),
    )
    assert answer.code == 0, answer.err
    near, far = ((folder / "scores.csv").open() for folder in (image_run, Path("run")))
    with near, far:
        ours, theirs = list(csv.DictReader(far)), list(csv.DictReader(near))
    assert ours == theirs  # the same pixels, the same run

    def score(source: str | Path, out: str) -> str:
        answer = command("innflow-score", "run=run", f"input={source}", f"out={out}")
        assert answer.code == 0, answer.err
        return Path(out).read_text()

    remote = score(f"{bucket}/val/dog", "far.csv")
    assert remote == score(photographs / "val/dog", "near.csv")
    assert len(remote.splitlines()) == 10


def test_no_such_bucket(bucket, command):
    answer = command("innflow-train", *TINY_IMAGES, "data.root=s3://nowhere/cats")
    assert answer.code == 2
    assert len(answer.err.splitlines()) == 1
    assert "s3://nowhere/cats: the bucket does not exist" in answer.err
    assert list(Path().iterdir()) == []


@pytest.mark.extended
def test_no_server(bucket, command, image_run, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{free.getsockname()[1]}")
    for line in (
        ("innflow-train", *TINY_IMAGES, f"data.root={bucket}"),
        ("innflow-score", f"run={image_run}", f"input={bucket}/val/dog"),
    ):
        started = time.monotonic()
        answer = command(*line)
        assert time.monotonic() - started < 15
        assert answer.code == 2
        assert len(answer.err.splitlines()) == 1
        assert f"{bucket}" in answer.err
        assert "cannot reach the server" in answer.err
    assert list(Path().iterdir()) == []
