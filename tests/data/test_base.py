from __future__ import annotations

import pickle

import pytest
import pytorch_lightning as pl
import torch

from innflow.data.base import PartsDataModule
from innflow.data.sets import PartsSet, hold_out
from innflow.errors import InnflowError


class Numbers(PartsDataModule):
    """200 numbers; augmentation makes them negative."""

    def __init__(self, batch_size: int = 8, workers: int = 0) -> None:
        super().__init__((1,), batch_size, workers=workers)

    def load_sets(self) -> dict[str, PartsSet]:
        x = torch.arange(1.0, 201).unsqueeze(1)
        names = [str(i) for i in range(200)]
        kept, held = hold_out(torch.arange(200), 0.1, 0, "numbers")
        return {
            "train": PartsSet("train", "train", {"x": x}, names[: len(kept)], kept),
            "val": PartsSet("val", "val", {"x": x}, names[: len(held)], held),
            "test": PartsSet("test", "inlier", {"x": x}, names),
        }

    def augment(self, x: torch.Tensor) -> torch.Tensor:
        return -x


class Watcher(pl.LightningModule):
    """Keeps the batches that it is handed."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen: dict[str, list[torch.Tensor]] = {"train": [], "val": [], "test": []}

    def training_step(self, batch, index):
        self.seen["train"].append(batch["x"])
        return self.weight

    def validation_step(self, batch, index):
        self.seen["val"].append(batch["x"])

    def test_step(self, batch, index):
        self.seen["test"].append(batch["x"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def quiet_trainer(**options) -> pl.Trainer:
    options = {"accelerator": "cpu", "logger": False, "max_epochs": 1} | options
    return pl.Trainer(
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )


def test_a_batch_is_one_gather_of_the_rows_of_the_set():
    whole = {"x": torch.arange(20).view(10, 2), "y": torch.arange(10)}
    rows = torch.tensor([7, 3, 5])
    part = PartsSet("dog", "outlier", whole, ["a", "b", "c"], rows)
    batch = part.__getitems__([2, 0])
    assert torch.equal(batch["x"], whole["x"][[5, 7]])
    assert torch.equal(batch["y"], torch.tensor([5, 7]))
    assert part[1]["y"] == 3
    assert len(part) == 3
    assert torch.equal(part.parts["x"], whole["x"][rows])
    assert PartsSet("test", "inlier", whole, list("0123456789")).parts["x"] is whole["x"]


def test_names_and_parts_must_agree():
    with pytest.raises(ValueError, match="3 names"):
        PartsSet("test", "inlier", {"x": torch.zeros(4, 2)}, ["a", "b", "c"])


def test_the_loader_never_collates(monkeypatch):
    data = Numbers()
    calls = []
    monkeypatch.setattr(PartsSet, "__getitem__", lambda *_: pytest.fail("item by item"))
    gather = PartsSet.__getitems__
    monkeypatch.setattr(
        PartsSet, "__getitems__", lambda self, rows: calls.append(len(rows)) or gather(self, rows)
    )
    loader = data.train_dataloader()
    epoch = torch.cat([batch["x"] for batch in loader]).flatten()
    assert calls == [8] * 22  # 180 training items, the last 4 dropped
    assert len(epoch.unique()) == 176
    assert not torch.equal(epoch, epoch.sort().values)
    assert len(data.val_dataloader().dataset) == 20
    assert sum(len(batch["x"]) for batch in data.test_dataloader()) == 200
    pickle.dumps(loader.loader.collate_fn)


def test_worker_processes_deliver_the_same_items():
    data = Numbers(workers=1)
    items = torch.cat([batch["x"] for batch in data.test_dataloader()])
    assert torch.equal(items, data.sets()["test"].parts["x"])
    assert data.test_dataloader().persistent_workers


class Starter(Watcher):
    """Looks at a first batch, as flows do."""

    def on_train_start(self) -> None:
        next(iter(self.trainer.train_dataloader))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_look_at_a_first_batch_takes_nothing_from_the_first_epoch(workers):
    model = Starter()
    quiet_trainer().fit(model, Numbers(workers=workers))
    assert len(torch.cat(model.seen["train"]).unique()) == 176
    assert len(torch.cat(model.seen["val"])) == 20


def test_batches_are_pinned_for_a_gpu_alone(monkeypatch):
    assert not Numbers().train_dataloader().loader.pin_memory
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert Numbers().train_dataloader().loader.pin_memory


def test_the_augmented_batch_is_the_one_on_the_device(monkeypatch):
    calls = []
    monkeypatch.setattr(Numbers, "augment", lambda self, x: calls.append(x) or x)
    model = Watcher()
    quiet_trainer().fit(model, Numbers())
    assert [len(x) for x in calls] == [8] * 22  # whole batches, each once
    assert all(x is y for x, y in zip(calls, model.seen["train"], strict=True))


def test_augments_in_training_only():
    data, model = Numbers(), Watcher()
    trainer = quiet_trainer()
    trainer.fit(model, data)
    trainer.test(model, data, verbose=False)
    assert (torch.cat(model.seen["train"]) < 0).all()
    assert (torch.cat(model.seen["val"]) > 0).all()
    assert (torch.cat(model.seen["test"]) > 0).all()


def test_batch_size_is_global(monkeypatch):
    data = Numbers(batch_size=12)
    data.trainer = quiet_trainer()
    monkeypatch.setattr(pl.Trainer, "world_size", 4)
    assert [len(batch["x"]) for batch in data.train_dataloader()] == [3] * 15
    data.batch_size = 10
    with pytest.raises(InnflowError, match="batch_size=10 is not divisible by 4 ranks"):
        data.train_dataloader()


def test_a_batch_larger_than_the_set_is_refused():
    with pytest.raises(InnflowError, match="more than the 180 training items"):
        Numbers(batch_size=181).train_dataloader()


@pytest.mark.parametrize(("count", "fraction"), [(2, 0.01), (2, 0.99), (100, 0.05), (7, 0.5)])
def test_holdout_is_disjoint_seeded_and_never_empty(count, fraction):
    kept, held = hold_out(torch.arange(count), fraction, 3, "items")
    assert torch.equal(torch.cat([kept, held]).sort().values, torch.arange(count))
    assert len(held) == min(max(round(count * fraction), 1), count - 1)
    again = hold_out(torch.arange(count), fraction, 3, "items")
    assert torch.equal(again[1], held)
    if count == 100:
        assert not torch.equal(hold_out(torch.arange(count), fraction, 4, "items")[1], held)


def test_one_item_cannot_be_split():
    with pytest.raises(InnflowError, match="at least 2"):
        hold_out(torch.arange(1), 0.5, 0, "folder")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"batch_size": 0}, "data.batch_size=0"),
        ({"batch_size": 1.5}, "data.batch_size=1.5"),
        ({"batch_size": True}, "data.batch_size=True"),
        ({"holdout": 0}, "data.holdout=0"),
        ({"holdout": 1.0}, "data.holdout=1.0"),
        ({"holdout": float("nan")}, "data.holdout=nan"),
        ({"workers": -1}, "data.workers=-1"),
        ({"seed": -1}, "data.seed=-1"),
    ],
)
def test_values_out_of_range_name_their_key(options, says):
    with pytest.raises(InnflowError, match=says):
        PartsDataModule((2,), **options)
