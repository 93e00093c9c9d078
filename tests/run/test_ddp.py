"""Two ranks and one process give the same weights; every item is used once; errors are one line."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import NOTE, TWO, difference, noted, on_two_ranks, run_command
from tiny import TINY_IMAGES, train

from innflow.data.toy.clouds import Toy
from innflow.system import progress

MOONS = (
    *("+experiment=moons", "data.n=620", "data.n_test=41", "data.batch_size=62", "analysis=none"),
    *("model.depth=2", "model.hidden=[8]", "trainer.max_steps=6", "trainer.log_every_n_steps=1"),
    *("trainer.check_val_every_n_epoch=1", "trainer.val_check_interval=3", "schedule=constant"),
    *("trainer.accelerator=cpu", "++trainer.enable_progress_bar=false"),
)
"""Of 31 validation items one rank gets 16 and the other 15; no noise."""
PICTURES = (
    *TINY_IMAGES,
    *("reversible=true", "data.augment=[flip]", "data.batch_size=16", "trainer.accelerator=cpu"),
    *("++trainer.enable_progress_bar=false", "++trainer.limit_val_batches=1.0"),
)
ARM = (
    *("data=arm", "app=inverse", "partition=given_y", "latent=observed", "score=none"),
    *("analysis=none", "callbacks=posterior", "model.depth=1", "+model.subnet.dropout=0.0"),
    *("data.n=300", "data.n_test=20", "data.batch_size=60", "data.cache_dir=null"),
    *("optimizer.lr=0.1", "schedule=constant", "callbacks.dropout.patience=1"),
    *("callbacks.dropout.margin=0.0", "callbacks.early_stopping.patience=3"),
    *("trainer.max_epochs=40", "trainer.check_val_every_n_epoch=1"),
    *("trainer.accelerator=cpu", "++trainer.enable_progress_bar=false"),
)
"""The learning rate is so high that the validation loss soon rises."""
CLOSE = 1e-5


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    """The run on moons by one process."""
    run_dir = tmp_path_factory.mktemp("alone") / "run"
    train(run_dir, *MOONS, "+extra=ema", *NOTE)
    return run_dir


@pytest.fixture(scope="module")
def both(tmp_path_factory, photographs) -> tuple[Path, dict[str, list[Any]]]:
    """Folder of all runs on two ranks, and what the ranks said of each."""
    folder = tmp_path_factory.mktemp("both")
    pictures = (*PICTURES, f"data.root={photographs}", f"data.cache_dir={folder}", *NOTE)
    moons = (*MOONS, *TWO, *NOTE, "strategy=ddp", "+extra=ema")
    jobs = {
        "moons": (folder / "moons", moons),
        "begun": (folder / "cut", (*moons, "trainer.max_steps=3")),
        "resumed": (folder / "cut", (*moons, "ckpt=last")),
        "pictures": (folder / "pictures", (*pictures, *TWO, "strategy=ddp")),
        "poisoned": (
            folder / "poisoned",
            (*MOONS, *TWO, *NOTE, "strategy=ddp", "+callbacks.note.poison=1"),
        ),
        "arm": (folder / "arm", (*ARM, *TWO, *NOTE, "strategy=ddp")),
    }
    said = on_two_ranks(folder, list(jobs.values()))
    train(folder / "pictures_alone", *pictures)
    return folder, dict(zip(jobs, said, strict=True))


def assert_as_alone(run_dir: Path, alone: Path, close: float = CLOSE) -> None:
    """Check that two ranks agree to the bit, and with one process closely."""
    first, second, one = noted(run_dir, 0), noted(run_dir, 1), noted(alone, 0)
    assert difference(first["weights"], second["weights"]) == 0
    assert difference(first["weights"], one["weights"]) < close
    assert difference(first["start"], second["start"]) == 0
    assert difference(first["start"], one["start"]) < close
    for name in ("val/nll", "val/loss"):
        assert first["metrics"][name] == second["metrics"][name]
        assert first["metrics"][name] == pytest.approx(one["metrics"][name], abs=1e-5)
    parted = torch.cat([first["seen"], second["seen"]])
    assert len(parted) == len(one["seen"])
    assert torch.equal(parted.unique(dim=0), one["seen"].unique(dim=0))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "ddp_spawn"])
def test_the_command_trains_as_one_process_does(strategy, alone, tmp_path):
    run_dir = tmp_path / "here/run"
    done = run_command(run_dir, *MOONS, *TWO, "+extra=ema", f"strategy={strategy}", *NOTE)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout.count("CouplingFlow") == 1  # only the first rank speaks
    assert done.stdout.splitlines()[-1] == str(run_dir)
    assert_as_alone(run_dir, alone)
    steps = [row["step"] for row in rows_of(run_dir / "metrics.csv") if row["train/nll"]]
    assert steps == ["0", "1", "2", "3", "4", "5"]
    assert "time/images_per_second" in done.stdout
    assert (run_dir / "report.html").is_file()
    assert [path.name for path in run_dir.parent.iterdir()] == ["run"]


@pytest.mark.extended
def test_a_loss_that_is_not_finite_on_one_rank_stops_the_command_with_one_line(tmp_path):
    poisoned = (*MOONS, *TWO, *NOTE, "+callbacks.note.poison=1", "strategy=ddp")
    done = run_command(tmp_path / "here/run", *poisoned)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if "error" in line or "Traceback" in line]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("innflow-train: error: training stopped at step 2: train/loss=nan")


@pytest.mark.extended
def test_the_average_of_the_weights(both, alone):
    assert_as_alone(both[0] / "moons", alone)


@pytest.mark.slow
def test_two_ranks_differ_from_one_process_by_rounding_alone(tmp_path):
    """In double precision, in which training does not amplify the order of sums to be seen."""
    given = (*MOONS, *NOTE, "trainer.max_steps=81", "trainer.precision=64-true")
    on_two_ranks(tmp_path, [(tmp_path / "two", (*given, *TWO, "strategy=ddp"))])
    train(tmp_path / "one", *given)
    weights = [noted(tmp_path / name, 0)["weights"] for name in ("two", "one")]
    assert 0 < difference(*weights) < 1e-13


@pytest.mark.extended
def test_a_resumed_run_is_as_one_that_was_never_cut(both):
    for rank in (0, 1):
        cut, straight = noted(both[0] / "cut", rank), noted(both[0] / "moons", rank)
        assert difference(cut["weights"], straight["weights"]) == 0


@pytest.mark.extended
def test_noise_and_augmentation_are_those_of_one_process(both):
    """Of images, with activations computed back."""
    assert_as_alone(both[0] / "pictures", both[0] / "pictures_alone", close=2e-5)


@pytest.mark.extended
def test_every_image_is_scored_once(both):
    folder, said = both
    metrics, nothing = said["pictures"]
    assert nothing == {}
    rows = rows_of(folder / "pictures/scores.csv")
    expected = rows_of(folder / "pictures_alone/scores.csv")
    assert [(row["path"], row["set"]) for row in rows] == [
        (row["path"], row["set"]) for row in expected
    ]
    for row, other in zip(rows, expected, strict=True):
        assert float(row["score"]) == pytest.approx(float(other["score"]), rel=1e-4)
    names = {path.name for path in (folder / "pictures/figures").iterdir()}
    assert names == {path.name for path in (folder / "pictures_alone/figures").iterdir()}
    assert len(names) > 5
    assert metrics["test/bpd"] > 0


@pytest.mark.extended
def test_a_loss_that_is_not_finite_on_one_rank_stops_both(both):
    first, second = both[1]["poisoned"]
    assert first.startswith("training stopped at step 2: train/loss=nan, train/nll=nan")
    assert second == 0  # it says nothing, and Lightning kills no one for it


@pytest.mark.extended
def test_dropout_sets_in_and_training_ends_on_both(both):
    folder, said = both
    assert isinstance(said["arm"][0], dict)
    first, second = (noted(folder / "arm", rank) for rank in (0, 1))
    assert difference(first["weights"], second["weights"]) == 0
    assert first["rates"] == second["rates"]
    assert max(first["rates"]) > 0
    steps = {int(row["step"]) for row in rows_of(folder / "arm/metrics.csv")}
    assert max(steps) < 40 * 4 - 1  # it stopped before the last epoch


def test_the_first_process_of_another_node_is_no_leader(monkeypatch):
    assert progress.is_leader()
    monkeypatch.setenv("NODE_RANK", "1")
    assert not progress.is_leader()


def test_what_the_ranks_cannot_share_is_refused_before_they_begin(tmp_path, refused):
    with refused("data.batch_size=62", "not divisible by 4"):
        train(tmp_path / "run", *MOONS, "strategy=ddp", "trainer.devices=4")
    with refused("strategy=ddp_spawn", "trainer.num_nodes=2"):
        train(tmp_path / "run", *MOONS, "strategy=ddp_spawn", "trainer.num_nodes=2")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.extended
def test_what_a_process_of_its_own_refuses_is_one_line(tmp_path, refused):
    with refused("data.batch_size=5000 is more than the 589 training items"):
        train(tmp_path / "run", *MOONS, "strategy=ddp_spawn", "data.batch_size=5000")
    assert list(tmp_path.iterdir()) == []


def test_more_devices_than_there_are_is_one_line(tmp_path, refused, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    given = ("trainer.accelerator=gpu", "trainer.devices=3", "strategy=ddp")
    with refused("trainer: ", "[0, 1, 2]", "[0]"):
        train(tmp_path / "run", *MOONS, *given)
    assert list(tmp_path.iterdir()) == []


def test_one_device_needs_no_other(tmp_path, alone):
    train(tmp_path / "run", *MOONS, "+extra=ema", "strategy=ddp", "trainer.devices=1", *NOTE)
    found, one = noted(tmp_path / "run", 0), noted(alone, 0)
    assert difference(found["weights"], one["weights"]) == 0
    assert not {"LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT"} & set(os.environ)  # of a later run


def test_a_set_of_one_item_is_on_every_rank():
    data = Toy("moons", n=20, n_test=5, batch_size=4)
    assert len(data.sets()["val"]) == 1
    assert len(list(data.val_dataloader())) == 1
