"""Sets in their own file formats, written here: torchvision reads them as it reads real ones."""

from __future__ import annotations

import hashlib
import pickle
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torchvision import datasets

from innflow.data.image import vision
from innflow.data.image.vision import Vision
from innflow.errors import InnflowError

RNG = np.random.default_rng(0)


def write_idx(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())


def write_mnist(root: Path, kind: str = "MNIST", count: int = 40) -> dict[str, np.ndarray]:
    """Write training digits and a fourth as many test digits as idx files."""
    written = {}
    for split, prefix, size in (("train", "train", count), ("test", "t10k", count // 4)):
        written[split] = RNG.integers(0, 256, (size, 28, 28), dtype=np.uint8)
        raw = root / kind / "raw"
        write_idx(raw / f"{prefix}-images-idx3-ubyte", written[split])
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", np.arange(size, dtype=np.uint8) % 10)
    return written


def write_cifar(root: Path, monkeypatch, count: int = 5) -> dict[str, np.ndarray]:
    """Write CIFAR-10's pickles with `count` pictures each, and tell torchvision their checksums."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)

    def save(name, content):
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return [name, hashlib.md5(data).hexdigest()]

    labels = [i % 10 for i in range(count)]
    pictures = RNG.integers(0, 256, (6, count, 3072), dtype=np.uint8)
    batches = [f"data_batch_{i}" for i in range(1, 6)]
    train = [
        save(name, {"data": data, "labels": labels})
        for name, data in zip(batches, pictures[:5], strict=True)
    ]
    test = [save("test_batch", {"data": pictures[5], "labels": labels})]
    names = save("batches.meta", {"label_names": [str(i) for i in range(10)]})
    monkeypatch.setattr(datasets.CIFAR10, "train_list", train)
    monkeypatch.setattr(datasets.CIFAR10, "test_list", test)
    meta = {"filename": names[0], "key": "label_names", "md5": names[1]}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    return {
        "train": pictures[:5].reshape(-1, 3, 32, 32),
        "test": pictures[5].reshape(-1, 3, 32, 32),
    }


def write_svhn(root: Path, monkeypatch, count: int = 4) -> np.ndarray:
    """Write SVHN's test split, and tell torchvision its checksum."""
    pictures = RNG.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
    path = root / "test_32x32.mat"
    savemat(path, {"X": pictures, "y": np.ones((count, 1), np.uint8)})
    splits = dict(datasets.SVHN.split_list)
    url, name, _ = splits["test"]
    splits["test"] = [url, name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(datasets.SVHN, "split_list", splits)
    return pictures.transpose(3, 2, 0, 1)


def test_grey_set_with_a_grey_outlier(tmp_path):
    digits, clothes = write_mnist(tmp_path), write_mnist(tmp_path, "FashionMNIST")
    data = Vision(
        "MNIST",
        tmp_path,
        size=28,
        channels=1,
        holdout=0.1,
        outliers=["FashionMNIST"],
        cache_dir=tmp_path / "cache",
    )
    assert data.shape == (1, 28, 28)
    data.prepare_data()
    sets = data.sets()
    roles = {name: (part.role, len(part)) for name, part in sets.items()}
    assert roles == {
        "train": ("train", 36),
        "val": ("val", 4),
        "test": ("inlier", 10),
        "fashionmnist": ("outlier", 10),
    }
    assert np.array_equal(sets["test"].parts["x"][:, 0], digits["test"])
    assert np.array_equal(sets["fashionmnist"].parts["x"][:, 0], clothes["test"])
    for name in ("train", "val"):
        rows = [int(item.removeprefix("train/")) for item in sets[name].names]
        assert np.array_equal(sets[name].parts["x"][:, 0], digits["train"][rows])
    assert sets["test"].names[2] == "test/2"


def test_colour_set_with_outliers_of_other_size_and_kind(tmp_path, monkeypatch):
    cifar = write_cifar(tmp_path, monkeypatch)
    svhn = write_svhn(tmp_path, monkeypatch)
    write_mnist(tmp_path)
    data = Vision("cifar10", tmp_path, outliers=["svhn", "mnist"], cache_dir=tmp_path / "cache")
    sets = data.sets()
    assert np.array_equal(sets["test"].parts["x"], cifar["test"])
    assert len(sets["train"]) + len(sets["val"]) == 25
    assert np.array_equal(sets["svhn"].parts["x"], svhn)
    grey = sets["mnist"].parts["x"]
    assert grey.shape == (10, 3, 32, 32)
    assert torch.equal(grey[:, 0], grey[:, 2])


def test_colour_becomes_grey(tmp_path, monkeypatch):
    cifar = write_cifar(tmp_path, monkeypatch)
    data = Vision("cifar10", tmp_path, size=32, channels=1, cache_dir=tmp_path / "cache")
    luma = np.tensordot([0.299, 0.587, 0.114], cifar["test"], axes=(0, 1))
    assert np.abs(data.sets()["test"].parts["x"][:, 0].numpy() - luma).max() <= 1


def test_converted_once(tmp_path, monkeypatch):
    write_mnist(tmp_path)
    options = {"size": 28, "channels": 1, "cache_dir": tmp_path / "cache"}
    Vision("mnist", tmp_path, **options).prepare_data()
    monkeypatch.setattr(vision, "load_torchvision", lambda *_: pytest.fail("opened again"))
    assert len(Vision("mnist", tmp_path, **options).sets()["test"]) == 10


@pytest.mark.parametrize("name", ["mnist", "fashionmnist", "cifar10", "celeba", "oxfordiiitpet"])
def test_what_is_not_there_is_named_with_its_folder(tmp_path, name):
    data = Vision(name, tmp_path / "data", download=False, cache_dir=tmp_path / "cache")
    with pytest.raises(InnflowError, match=f"{name} is not in {tmp_path}/data/.*download=true"):
        data.prepare_data()
    assert not (tmp_path / "cache").exists()


def test_a_download_that_fails(tmp_path, monkeypatch, capsys):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{port}/"])
    data = Vision("mnist", tmp_path / "data", cache_dir=tmp_path / "cache")
    with pytest.raises(InnflowError) as caught:
        data.prepare_data()
    assert str(caught.value).startswith("cannot download mnist (")
    assert f"{tmp_path}/data/MNIST/raw" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capsys.readouterr().out == ""


def test_unknown_names(tmp_path):
    with pytest.raises(InnflowError, match=r"data\.name=imagenet.*choose from mnist"):
        Vision("imagenet", tmp_path)
    with pytest.raises(InnflowError, match=r"data\.outliers=cats"):
        Vision("mnist", tmp_path, outliers=["cats"])
    with pytest.raises(InnflowError, match="cannot be an outlier"):
        Vision("mnist", tmp_path, outliers=["MNIST"])
