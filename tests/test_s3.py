"""The commands on a bucket of a real server on loopback."""

from __future__ import annotations

import csv
import logging
import socket
import time
from pathlib import Path

import boto3
import pytest
from moto.server import ThreadedMotoServer
from tiny import TINY_IMAGES


@pytest.fixture
def bucket(command, photographs, monkeypatch):
    """The photographs as s3://photographs/cats, for the commands of this test."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # or it logs requests on our stderr
    host, port = server.get_host_and_port()
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3")
    client.create_bucket(Bucket="photographs")
    for path in photographs.rglob("*.png"):
        key = f"cats/{path.relative_to(photographs).as_posix()}"
        client.put_object(Bucket="photographs", Key=key, Body=path.read_bytes())
    yield "s3://photographs/cats"
    server.stop()


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
