"""Images streamed from real tars: what an epoch holds, how it goes on, and what is refused."""

from __future__ import annotations

import json
import logging
import tarfile
from collections import Counter
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from data.conftest import write_noise
from data.test_base import Watcher, quiet_trainer
from innflow.data.image.images import Images
from innflow.data.image.patterns import find_shards
from innflow.data.image.shards import Shards
from innflow.data.image.tar import read_items, write_shards
from innflow.errors import InnflowError

COUNT, PER_SHARD = 48, 8


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """48 training images in 6 shards, 10 of test cats and 6 of dogs in one each."""
    for i in range(COUNT):
        write_noise(tmp_path / f"tree/train/{'cat' if i % 3 else 'lion'}/{i:02d}.png", i)
    for i in range(10):
        write_noise(tmp_path / f"tree/test/{'cat' if i % 2 else 'lion'}/{i}.png", 100 + i)
    for i in range(6):
        write_noise(tmp_path / f"tree/dogs/{i}.png", 200 + i)
    out = tmp_path / "packed"
    for name, folder in (("train", "train"), ("test", "test"), ("dog", "dogs")):
        write_shards(tmp_path / "tree" / folder, out, PER_SHARD, name)
    return out


def opened(packed: Path, **options) -> Shards:
    usual = {
        "train": packed / "train-{000000..000005}.tar",
        "test": packed / "test-*.tar",
        "outliers": {"dog": packed / "dog-000000.tar"},
        "cache_dir": packed.parent / "cache",
        **{"size": 10, "batch_size": 4, "study_items": 8, "holdout": 0.5, "workers": 0},
    }
    return Shards(**(usual | options))


def on_rank(data: Shards, rank: int, ranks: int, monkeypatch) -> Shards:
    data.trainer = quiet_trainer()
    monkeypatch.setattr(pl.Trainer, "world_size", ranks)
    monkeypatch.setattr(pl.Trainer, "global_rank", rank)
    return data


def fingerprints(batches) -> list[bytes]:
    return [image.numpy().tobytes() for batch in batches for image in batch["x"]]


def everything(packed: Path) -> Counter[bytes]:
    """All training images, decoded the ordinary way."""
    tree = Images(packed.parent / "tree/train", size=10, cache_dir=packed.parent / "plain")
    return Counter(image.numpy().tobytes() for image in tree.open_cache(verify=False).images)


def without(counts: Counter[bytes], data: Shards) -> Counter[bytes]:
    return counts - Counter(fingerprints([data.sets()["val"].parts]))


def test_sets_that_are_studied_equal_those_of_the_folders(packed):
    data = opened(packed)
    data.prepare_data()
    sets = data.sets()
    assert {name: (part.role, len(part)) for name, part in sets.items()} == {
        "train": ("train", 4),
        "val": ("val", 4),
        "test": ("inlier", 10),
        "dog": ("outlier", 6),
    }
    tree = Images(packed.parent / "tree/dogs", size=10, cache_dir=packed.parent / "plain")
    dogs = tree.open_cache(verify=False)
    assert Counter(fingerprints([sets["dog"].parts])) == Counter(fingerprints([{"x": dogs.images}]))
    assert all(name.startswith("train-000000/") for name in sets["train"].names)
    assert not set(sets["train"].names) & set(sets["val"].names)
    files = sorted(path.name for path in data.cache_dir.iterdir())
    again = opened(packed)
    again.prepare_data()
    assert torch.equal(again.sets()["test"].parts["x"], sets["test"].parts["x"])
    assert sorted(path.name for path in data.cache_dir.iterdir()) == files


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_is_every_image_once(packed, workers):
    data = opened(packed, workers=workers, study_items=2, buffer=5, batch_size=1)
    loader = data.train_dataloader()
    assert len(loader) == COUNT - 1
    epochs = []
    for epoch in range(2):
        loader.set_epoch(epoch)
        batches = list(loader)
        assert len(batches) == len(loader)
        assert all(batch["x"].dtype == torch.uint8 for batch in batches)
        epochs.append(fingerprints(batches))
    wanted = without(everything(packed), data)
    if workers == 0:
        assert Counter(epochs[0]) == Counter(epochs[1]) == wanted
    else:  # 24 and 23 items: the worker of the shard with the held out image starts over for one
        assert all(sum((wanted - Counter(epoch)).values()) <= 1 for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert epochs[0] == fingerprints(_epoch(loader, 0))


def _epoch(loader, epoch: int):
    loader.set_epoch(epoch)
    return list(loader)


def test_ranks_have_their_own_shards_and_equally_many_batches(packed, monkeypatch):
    parts = []
    for rank in range(2):
        data = on_rank(opened(packed, epoch_items=48), rank, 2, monkeypatch)
        loader = data.train_dataloader()
        assert len(loader) == 12
        batches = list(loader)
        assert {len(batch["x"]) for batch in batches} == {2}
        parts.append(fingerprints(batches))
    assert len(parts[0]) == len(parts[1]) == 24
    assert not set(parts[0]) & set(parts[1])
    assert set(parts[0]) | set(parts[1]) == set(without(everything(packed), data))
    assert set(fingerprints(_epoch(loader, 1))) != set(parts[1])  # dealt anew


def test_a_rank_that_runs_out_begins_again(packed, monkeypatch):
    five = packed / "train-{000000..000004}.tar"  # 3 shards for one rank, 2 for the other
    lengths = []
    for rank in range(2):
        data = on_rank(opened(packed, train=five, epoch_items=40), rank, 2, monkeypatch)
        lengths.append((len(data.train_dataloader()), len(list(data.train_dataloader()))))
    assert lengths == [(10, 10), (10, 10)]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_epoch_is_what_was_left_of_it(packed, workers):
    loader = opened(packed, workers=workers, epoch_items=40).train_dataloader()
    loader.set_epoch(3)
    first = fingerprints(_take(loader, 5))
    state = json.loads(json.dumps(loader.state_dict()))
    assert (state["epoch"], state["items"]) == (3, 20)
    whole = fingerprints(list(loader))
    resumed = opened(packed, workers=workers, epoch_items=40).train_dataloader()
    resumed.load_state_dict(state)
    peek = fingerprints(_take(resumed, 1))  # the flow looks at a first batch
    rest = fingerprints(list(resumed))
    assert peek == rest[:4]
    assert first + rest == whole
    assert resumed.state_dict()["items"] == 40
    assert len(_epoch(resumed, 4)) == 10


def _take(loader, count: int):
    batches = iter(loader)
    return [next(batches) for _ in range(count)]


class Starter(Watcher):
    """Looks at a first batch, as flows do, and saves a checkpoint in the middle of an epoch."""

    def __init__(self, save: Path) -> None:
        super().__init__()
        self.save = save

    def on_train_start(self) -> None:
        next(iter(self.trainer.train_dataloader))

    def on_train_batch_end(self, outputs, batch, batch_idx) -> None:
        if self.trainer.global_step == 14:
            self.trainer.save_checkpoint(self.save)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.filterwarnings("ignore")
def test_lightning_goes_on_in_the_middle_of_an_epoch(packed, tmp_path, workers, capsys):
    def trained(checkpoint: Path | None) -> list[bytes]:
        model = Starter(tmp_path / "14.ckpt")
        data = opened(packed, workers=workers, epoch_items=40)
        trainer = quiet_trainer(max_epochs=3)
        trainer.fit(model, data, ckpt_path=checkpoint, weights_only=True)
        return fingerprints([{"x": x} for x in model.seen["train"]])

    whole = trained(None)
    assert len(whole) == 3 * 40
    assert trained(tmp_path / "14.ckpt") == whole[14 * 4 :]
    assert "may repeat" not in capsys.readouterr().out


def test_other_readers_than_before_are_announced(packed, capsys):
    state = opened(packed, epoch_items=40).train_dataloader().state_dict()
    loader = opened(packed, epoch_items=40, workers=2).train_dataloader()
    loader.load_state_dict(state | {"items": 20})
    out = capsys.readouterr().out
    assert out.startswith("data: workers changed since the checkpoint")
    assert "20 items" in out
    assert len(list(loader)) == 5


def test_labels(packed):
    data = opened(packed, label="cls", classes=["cat", "lion"])
    assert data.columns == {"label": ["cat", "lion"]}
    for name in ("train", "val", "test"):
        part = data.sets()[name]
        folders = [item.split("/")[1] for item in part.names]
        assert [data.classes[row] for row in part.parts["label"].tolist()] == folders
    assert "label" not in data.sets()["dog"].parts
    shards = find_shards(packed / "train-*.tar", "train")
    known = {item.data: item.name.split("/")[1] for shard in shards for item in read_items(shard)}
    by_image = {
        data.reading.pixels(item).tobytes(): known[item.data]
        for shard in shards
        for item in read_items(shard)
    }
    for batch in data.train_dataloader():
        names = [data.classes[label] for label in batch["label"].tolist()]
        assert names == [by_image[image] for image in fingerprints([batch])]


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    import io

    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def png(tmp_path) -> bytes:
    write_noise(tmp_path / "one.png")
    return (tmp_path / "one.png").read_bytes()


def items_of(path: Path, **options):
    (shard,) = find_shards(path, "train")
    return list(read_items(shard, **options))


def test_what_is_an_item(tmp_path, png):
    members = {"a/1.png": png, "a/1.json": b'{"kind": "cat"}', "a/2.txt": b"no image", "3.PNG": png}
    path = write_tar(tmp_path / "own.tar", members)
    assert [item.name for item in items_of(path)] == ["own/a/1", "own/3"]
    one = write_tar(tmp_path / "one.tar", {"a/1.png": png, "a/1.json": b'{"kind": "cat"}'})
    assert [item.label for item in items_of(one, label="json.kind")] == ["cat"]
    two = write_tar(tmp_path / "two.tar", {"1.input.png": png, "1.output.png": png})
    assert [item.data for item in items_of(two, image="input.png")] == [png]


def damaged(packed: Path, what: str) -> None:
    path = packed / "train-000003.tar"
    data = bytearray(path.read_bytes())
    if what == "cut in a file":
        del data[len(data) // 2 + 700 :]
    elif what == "cut between files":
        with tarfile.open(path) as tar:
            del data[tar.getmembers()[4].offset :]
    elif what == "header":
        with tarfile.open(path) as tar:
            offset = tar.getmembers()[4].offset
        data[offset : offset + 100] = b"\xff" * 100
    elif what == "no tar":
        data[:] = b"<html>not found</html>" * 100
    path.write_bytes(data)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("what", ["cut in a file", "cut between files", "header", "no tar"])
def test_a_damaged_shard_is_named(packed, what, workers, refused):
    if workers and what != "header":
        what = "no tar"
    damaged(packed, what)
    loader = opened(packed, workers=workers, epoch_items=40).train_dataloader()
    with refused(f"{packed}/train-000003.tar is damaged, or no tar"):
        list(loader)


def test_shards_without_images_or_labels(tmp_path, png, refused):
    with refused("own.tar holds no images: expected members such as KEY.jpg"):
        items_of(write_tar(tmp_path / "own.tar", {"1.txt": b"text"}))
    with refused("own.tar holds no images: expected members such as KEY.jpg or KEY.png"):
        items_of(write_tar(tmp_path / "own.tar", {}))
    with refused("own.tar: 1 has 2 images (jpg, png): say which by data.image"):
        items_of(write_tar(tmp_path / "own.tar", {"1.jpg": png, "1.png": png}))
    with refused("labels missing", "own.tar: 1 has no .cls"):
        items_of(write_tar(tmp_path / "own.tar", {"1.png": png}), label="cls")
    with refused("labels missing", "own.tar: 1.json holds no json.kind"):
        items_of(
            write_tar(tmp_path / "own.tar", {"1.png": png, "1.json": b"{}"}), label="json.kind"
        )


def test_patterns_that_name_nothing(packed, refused):
    with refused("data.train", "braces do not match"):
        opened(packed, train=f"{packed}/train-{{000000..000003.tar").setup()
    with refused("data.train", "train-000006.tar does not exist (and 2 of 9 more)"):
        opened(packed, train=f"{packed}/train-{{000000..000008}}.tar").setup()
    with refused("data.test", "other-*.tar matches no file"):
        opened(packed, test=f"{packed}/other-*.tar").setup()
    with refused("data.outliers.dog", "cannot read", "nowhere"):
        opened(packed, outliers={"dog": "/nowhere/dog.tar"}).setup()
    with refused("data.test", "test-000000.tar is named twice"):
        opened(packed, test=[packed / "test-*.tar", packed / "test-000000.tar"]).setup()
    with refused("data.test is empty"):
        opened(packed, test=None).setup()
    with refused("data.test", "train-000000.tar is in data.train too"):
        opened(packed, test=f"{packed}/train-000000.tar").setup()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"label": "class"}, "data.label=class is not known"),
        ({"label": "cls"}, "data.classes=None"),
        ({"classes": ["a", "b"]}, "data.classes="),
        ({"epoch_items": 0}, "data.epoch_items=0"),
        ({"buffer": 0}, "data.buffer=0"),
        ({"study_items": 1}, "data.study_items=1"),
        ({"outliers": {"val": "x"}}, "data.outliers.val"),
    ],
)
def test_values_out_of_range(packed, options, says, refused):
    with refused(says):
        opened(packed, **options)


def test_what_an_epoch_needs(packed, refused, monkeypatch):
    with refused("6 shards are not enough for 1 ranks x 7 workers"):
        opened(packed, workers=7).train_dataloader()
    with refused("data.batch_size=100 is more than the 44 items of an epoch"):
        opened(packed, batch_size=100).train_dataloader()
    with refused("data.batch_size=4 is not divisible by 3 ranks"):
        on_rank(opened(packed), 0, 3, monkeypatch).train_dataloader()
    (packed / "sizes.json").unlink()
    with refused("data.epoch_items is null, and there is no sizes.json"):
        opened(packed).train_dataloader()


def test_a_label_that_is_no_class(packed, refused):
    with refused("its cls is 1: expected a name in data.classes"):
        data = opened(packed, label="cls", classes=["cat", "lion"])
        object.__setattr__(data.reading, "classes", ("cat",))
        data.setup()


def corrupted(packed: Path, count: int) -> list[str]:
    """Replace images behind those that are studied; return their names."""
    names = []
    for shard in find_shards(packed / "train-*.tar", "train")[1 : 1 + count]:
        with tarfile.open(shard.path) as tar:
            members = {member.name: tar.extractfile(member).read() for member in tar.getmembers()}
        first = next(name for name in members if name.endswith(".png"))
        members[first] = b"no image"
        write_tar(Path(shard.path), members)
        names.append(f"{shard.name}/{first.removesuffix('.png')}")
    return names


def test_a_corrupt_image_is_named_and_its_place_taken(packed, caplog):
    (name,) = corrupted(packed, 1)
    data = opened(packed)
    with caplog.at_level(logging.WARNING):
        batches = list(data.train_dataloader())
    assert f"left out {name}: not an image" in caplog.text
    assert {len(batch["x"]) for batch in batches} == {4}
    assert len(set(fingerprints(batches))) == 43


@pytest.mark.parametrize("workers", [0, 2])
def test_many_corrupt_images_end_training(packed, workers, refused):
    names = corrupted(packed, 5)
    with pytest.raises(InnflowError, match="more than 5%") as caught:
        list(opened(packed, workers=workers).train_dataloader())
    assert any(name in str(caught.value) for name in names)


def test_a_corrupt_image_among_the_studied(packed, refused):
    write_tar(packed / "test-000000.tar", {"1.png": b"no image"})
    with refused("data.test", "test-000000/1: not an image"):
        opened(packed, test=packed / "test-000000.tar").setup()


def test_shards_of_a_validation_set_leave_all_training_images(packed):
    data = opened(packed, val=packed / "dog-000000.tar", outliers=None)
    sets = data.sets()
    assert len(sets["val"]) == 6
    assert all(name.startswith("dog-000000/") for name in sets["val"].names)
    assert len(sets["train"]) == 8
    assert len(data.train_dataloader()) == COUNT // data.batch_size


def test_write_shards_packs_files_as_they_are(tmp_path):
    for name in ("a.b.png", "a_b.png", "x/1.png"):
        write_noise(tmp_path / "tree" / name, len(name))
    assert write_shards(tmp_path / "tree", tmp_path / "out", per_shard=2) == ["x"]
    shards = find_shards(tmp_path / "out/train-*.tar", "train")
    items = [item for shard in shards for item in read_items(shard)]
    assert sorted(item.data for item in items) == sorted(
        path.read_bytes() for path in (tmp_path / "tree").rglob("*.png")
    )
    assert len({item.name for item in items}) == 3
    sizes = json.loads((tmp_path / "out/sizes.json").read_text())
    assert sizes == {"train-000000.tar": 2, "train-000001.tar": 1}


class Recorder(Watcher):
    """Writes what each rank was trained on into a file of its own."""

    def __init__(self, out: Path) -> None:
        super().__init__()
        self.out = out

    def on_train_epoch_end(self) -> None:
        lines = [image.hex() for image in fingerprints([{"x": x} for x in self.seen["train"]])]
        self.seen["train"] = []
        name = f"{self.current_epoch}-{self.global_rank}-of-{self.trainer.world_size}"
        (self.out / name).write_text("\n".join(lines))


@pytest.mark.extended
@pytest.mark.filterwarnings("ignore")
def test_two_processes(packed, tmp_path):
    five = packed / "train-{000000..000004}.tar"  # 3 shards for one rank, 2 for the other
    out = tmp_path / "ranks"
    out.mkdir()
    data = opened(packed, train=five, batch_size=8, study_items=2)
    trainer = quiet_trainer(strategy="ddp_spawn", devices=2, max_epochs=2, limit_val_batches=0)
    trainer.fit(Recorder(out), data)
    for epoch in range(2):
        seen = [(out / f"{epoch}-{rank}-of-2").read_text().splitlines() for rank in range(2)]
        assert [len(lines) for lines in seen] == [16, 16]  # 39 items, 4 whole batches of 8
        assert not set(seen[0]) & set(seen[1])
        assert max(len(set(lines)) for lines in seen) == 16  # of the rank with three shards
