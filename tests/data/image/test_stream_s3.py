"""Shards in buckets, on a real server on loopback."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import torch

from data.conftest import write_noise
from data.image.test_storage import bucket, server  # noqa: F401
from innflow.data.image.patterns import find_shards
from innflow.data.image.shards import Shards
from innflow.data.image.tar import read_items, write_shards

URL = "s3://pictures/packed"


@pytest.fixture
def shards(bucket, tree) -> str:  # noqa: F811
    """The trees of cats and dogs, packed from the bucket into the bucket."""
    assert write_shards("s3://pictures/some/prefix/train", URL, 10) == ["cat"]
    assert write_shards("s3://pictures/some/prefix/test/cat", URL, 10, "test") == []
    return URL


def opened(url: str, cache: Path, **options) -> Shards:
    usual = {"train": f"{url}/train-{{000000..000003}}.tar", "test": f"{url}/test-*.tar"}
    usual |= {"size": 10, "batch_size": 5, "study_items": 4, "cache_dir": cache, "workers": 0}
    return Shards(**(usual | options))


@pytest.mark.representatives("0")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_bucket_streams_like_the_folder(shards, tree, tmp_path, workers):
    near = str(tmp_path / "near")
    write_shards(tree / "train", near, 10)
    write_shards(tree / "test/cat", near, 10, "test")
    ours, theirs = (
        list(opened(url, tmp_path / "cache", workers=workers).train_dataloader())
        for url in (shards, near)
    )
    assert len(ours) == len(theirs) == 7
    assert all(torch.equal(one["x"], other["x"]) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.extended
def test_a_new_version_of_a_shard_is_decoded_again(shards, bucket, tree, tmp_path):  # noqa: F811
    before = opened(shards, tmp_path / "cache").sets()["test"].parts["x"]
    write_noise(tree / "test/cat/0.png", 999)
    write_shards(tree / "test/cat", shards, 10, "test")
    after = opened(shards, tmp_path / "cache").sets()["test"].parts["x"]
    assert (before != after).flatten(1).any(1).sum() == 1


@pytest.mark.extended
def test_what_is_not_there(shards, bucket, refused):  # noqa: F811
    with refused("data.train: s3://pictures/packed/train-000004.tar does not exist"):
        find_shards(f"{shards}/train-{{000003..000004}}.tar", "train")
    with refused("data.test: s3://pictures/none/test-*.tar matches no file"):
        find_shards("s3://pictures/none/test-*.tar", "test")
    with refused("data.test", "s3://nobucket"):
        find_shards("s3://nobucket/test-*.tar", "test")
    (shard,) = find_shards(f"{shards}/train-000003.tar", "train")
    bucket.delete_object(Bucket="pictures", Key="packed/train-000003.tar")
    with refused("s3://pictures/packed/train-000003.tar does not exist any more"):
        list(read_items(shard))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_server_lost_on_the_way(shards, tmp_path, monkeypatch, refused, workers):
    data = opened(shards, tmp_path / "cache", workers=workers)
    loader = data.train_dataloader()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    with refused(f"{shards}/train-", "cannot reach the server"):
        list(loader)
