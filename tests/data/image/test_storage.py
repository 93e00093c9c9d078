"""Buckets, on a real server on loopback."""

from __future__ import annotations

import io
import logging
import socket
import tarfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial

import boto3
import pytest
import torch
from aws import lead_to, serving, spoiling
from moto.server import ThreadedMotoServer

from innflow.data.image.images import Images
from innflow.data.image.patterns import find_shards
from innflow.data.image.storage import open_storage, read_images
from innflow.data.image.tar import read_items
from innflow.errors import InnflowError


@pytest.fixture(scope="module")
def server():
    with serving() as address:
        yield address


@pytest.fixture
def bucket(server, tree, monkeypatch):
    """The tree of images as s3://pictures/some/prefix."""
    lead_to(server, monkeypatch)
    client = boto3.client("s3")
    client.create_bucket(Bucket="pictures")
    for path in tree.rglob("*.*"):
        if path.is_file():
            key = f"some/prefix/{path.relative_to(tree).as_posix()}"
            client.put_object(Bucket="pictures", Key=key, Body=path.read_bytes())
    return client


def test_a_bucket_reads_like_the_folder(bucket, tree, tmp_path):
    cache = tmp_path / "cache"
    near = Images(tree, size=10, cache_dir=cache)
    far = Images("s3://pictures/some/prefix/", size=10, cache_dir=cache)
    far.prepare_data()
    assert len(list(cache.iterdir())) == 2
    for name, part in near.sets().items():
        other = far.sets()[name]
        assert (other.role, other.names) == (part.role, part.names)
        assert torch.equal(other.parts["x"], part.parts["x"])


def test_a_new_version_of_an_object_is_read_again(bucket, tree, tmp_path):
    def dogs():
        data = Images("s3://pictures/some/prefix", size=10, cache_dir=tmp_path / "cache")
        return data.sets()["dog"].parts["x"]

    before = dogs()
    other = (tree / "test/cat/0.png").read_bytes()
    bucket.put_object(Bucket="pictures", Key="some/prefix/test/dog/0.png", Body=other)
    after = dogs()
    assert torch.equal(after[1:], before[1:])
    assert not torch.equal(after[0], before[0])


def test_read_images_of_a_prefix_and_of_one_object(bucket, tree):
    x, names, skipped = read_images("s3://pictures/some/prefix/test/dog", 10, 3)
    expected, expected_names, _ = read_images(tree / "test/dog", 10, 3)
    assert torch.equal(x, expected)
    assert (names, skipped) == (expected_names, [])
    x, names, _ = read_images("s3://pictures/some/prefix/test/dog/2.png", 10, 3)
    assert torch.equal(x[0], expected[2])
    assert names == ["2.png"]


def check_credentials_after(server: str, requests: bytes) -> None:
    """From so many requests on, only keys that the server has issued are let in."""
    url, kind = f"{server}/moto-api/reset-auth", {"Content-Type": "text/plain"}
    request = urllib.request.Request(url, requests, kind, method="POST")
    urllib.request.urlopen(request).close()


def refused(root: str, seconds: float = 15) -> str:
    start = time.monotonic()
    with pytest.raises(InnflowError) as caught:
        open_storage(root)
    assert time.monotonic() - start < seconds
    message = str(caught.value)
    assert message.startswith(root)
    assert "\n" not in message
    return message


def test_nothing_below_a_prefix(bucket):
    assert "holds no images" in refused("s3://pictures/other")


def test_no_such_bucket(bucket):
    assert "the bucket does not exist" in refused("s3://nobucket/some")


def test_access_refused(bucket, server):
    check_credentials_after(server, b"0")
    try:
        assert "access refused" in refused("s3://pictures/some")
    finally:
        check_credentials_after(server, b"Infinity")


def test_no_credentials(bucket, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert "no credentials" in refused("s3://pictures/some")


def test_no_server(bucket, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    assert "cannot reach the server" in refused("s3://pictures/some")


@pytest.mark.extended
def test_a_server_lost_on_the_way(bucket, monkeypatch):
    second = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    second.start()
    host, port = second.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setattr("innflow.data.image.s3._PATIENCE", 1.0)
    storage = open_storage("s3://pictures/some/prefix")
    assert storage.read(storage.entries[0].path)
    second.stop()
    tries = Tries(lambda: None)
    with tries, pytest.raises(InnflowError, match="cannot reach the server") as caught:
        storage.read(storage.entries[1].path)
    assert tries.count >= 2
    assert "\n" not in str(caught.value)


class Tries(logging.Handler):
    """Counts how often s3fs tries again; after the second time it does something."""

    def __init__(self, then: Callable[[], None]) -> None:
        super().__init__(logging.DEBUG)
        self.then, self.count = then, 0

    def emit(self, record: logging.LogRecord) -> None:
        if "Retryable error" in record.getMessage():
            self.count += 1
            if self.count == 2:
                self.then()

    def __enter__(self) -> Tries:
        self.logger = logging.getLogger("s3fs")
        self.before = self.logger.level
        self.logger.setLevel(logging.DEBUG)
        self.logger.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.logger.removeHandler(self)
        self.logger.setLevel(self.before)


@pytest.mark.parametrize("what", ["an image", "a shard"])
@pytest.mark.extended
def test_a_server_that_is_lost_and_comes_back_is_waited_for(bucket, monkeypatch, what):
    first = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    first.start()
    host, port = first.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    if what == "a shard":
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("one.png"))
        bucket.put_object(Bucket="pictures", Key="shard.tar", Body=content.getvalue())
        (shard,) = find_shards("s3://pictures/shard.tar", "train")
        read = partial(list, read_items(shard))
    else:
        storage = open_storage("s3://pictures/some/prefix")
        read = partial(storage.read, storage.entries[0].path)
    first.stop()
    again = ThreadedMotoServer(ip_address=host, port=port, verbose=False)
    with Tries(again.start) as tries:
        assert read()
    assert tries.count >= 2
    again.stop()


@pytest.fixture
def spoilt(bucket, server, monkeypatch):
    """Return `spoilt(how, patience)`: a context in which `how(number)` spoils each read."""

    @contextmanager
    def make(how, patience=9.0):
        monkeypatch.setattr("innflow.data.image.s3._PATIENCE", patience)
        with spoiling(server, how) as address:
            monkeypatch.setenv("AWS_ENDPOINT_URL", address)
            yield

    return make


@pytest.mark.representatives("cut")
@pytest.mark.parametrize("how", ["503", "stall", "cut"])
def test_reads_that_fail_are_repeated_and_none_is_used_by_halves(how, spoilt, tree):
    expected, _, _ = read_images(tree / "test/dog", 10, 3)
    with spoilt(lambda number: how if number in (0, 3) else ""):
        x, _, skipped = read_images("s3://pictures/some/prefix/test/dog", 10, 3)
    assert torch.equal(x, expected)
    assert skipped == []


@pytest.mark.representatives("503")
@pytest.mark.parametrize("how", ["503", "stall", "cut"])
def test_a_server_that_never_answers_in_full_is_one_line(how, spoilt):
    with spoilt(lambda number: how, patience=1.5):
        storage = open_storage("s3://pictures/some/prefix")
        start = time.monotonic()
        with pytest.raises(InnflowError, match=r"^s3://pictures/some/prefix: can") as caught:
            storage.read(storage.entries[0].path)
    assert time.monotonic() - start < 10
    assert "\n" not in str(caught.value)


def test_an_object_that_changes_during_the_run_is_not_mixed_with_the_others(bucket):
    storage = open_storage("s3://pictures/some/prefix")
    assert storage.read("test/dog/0.png")
    bucket.put_object(Bucket="pictures", Key="some/prefix/test/dog/0.png", Body=b"another")
    with pytest.raises(InnflowError, match=r"test/dog/0\.png has changed since it was listed"):
        storage.read("test/dog/0.png")


@pytest.mark.representatives("cut", "change")
@pytest.mark.parametrize("how", ["503", "stall", "cut", "change"])
def test_a_shard_is_read_whole_or_not_at_all(how, spoilt, bucket):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        for index in range(40):
            info = tarfile.TarInfo(f"{index}.png")
            info.size = 1000
            tar.addfile(info, io.BytesIO(bytes([index]) * 1000))
    bucket.put_object(Bucket="pictures", Key="shard.tar", Body=content.getvalue())
    with spoilt(lambda number: how if number == 0 and how != "change" else ""):
        (shard,) = find_shards("s3://pictures/shard.tar", "train")
        if how == "change":
            bucket.put_object(Bucket="pictures", Key="shard.tar", Body=content.getvalue()[::-1])
            with pytest.raises(InnflowError, match="has changed since it was listed"):
                list(read_items(shard))
            return
        items = list(read_items(shard))
    assert [item.data for item in items] == [bytes([index]) * 1000 for index in range(40)]


def test_an_object_lost_on_the_way(bucket):
    storage = open_storage("s3://pictures/some/prefix")
    bucket.delete_object(Bucket="pictures", Key="some/prefix/test/dog/0.png")
    with pytest.raises(FileNotFoundError):
        storage.read("test/dog/0.png")


def test_an_unknown_kind_of_address(bucket):
    assert "nokind" in refused("nokind://pictures/some")
