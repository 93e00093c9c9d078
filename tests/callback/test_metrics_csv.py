from __future__ import annotations

import csv

import pytest
import torch
from pytorch_lightning import Callback

from innflow import flow
from innflow.app import Density
from innflow.callback import LastCheckpoint, MetricsCSV
from innflow.callback.last_checkpoint import KEY
from innflow.data.toy.clouds import Toy


def rows(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def train(fit, folder, steps):
    app = Density(flow.vector(2, depth=1, hidden=(4,)))
    data = Toy("moons", n=200, n_test=10, batch_size=32)
    logger = MetricsCSV(folder)
    fit(app, data, max_steps=steps, logger=logger, log_every_n_steps=1)


def test_every_step_is_a_row_of_the_run_folder(fit, tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    train(fit, tmp_path, 3)
    written = rows(tmp_path)
    assert [row["step"] for row in written if row["train/nll"]] == ["0", "1", "2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "metrics.csv"]


def test_rows_from_before_a_resume_are_kept(fit, tmp_path):
    train(fit, tmp_path, 2)
    before = rows(tmp_path)
    train(fit, tmp_path, 3)
    after = rows(tmp_path)
    assert len(before) == 2
    assert [row["train/nll"] for row in after[:2]] == [row["train/nll"] for row in before]
    assert len(after) > len(before)


def test_rows_after_a_checkpoint_are_removed(fit, tmp_path):
    train(fit, tmp_path, 3)
    before = rows(tmp_path)
    logger = MetricsCSV(tmp_path)
    assert logger.rows == 3
    logger.cut(2)
    assert rows(tmp_path) == before[:2]
    logger.log_metrics({"new": 1.0}, 2)
    assert logger.rows == 3
    logger.save()
    assert [row["new"] for row in rows(tmp_path)] == ["", "", "1.0"]
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]


def test_an_incomplete_row_of_a_killed_process_is_removed(fit, tmp_path):
    train(fit, tmp_path, 2)
    before = rows(tmp_path)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("0,1.25")
    assert MetricsCSV(tmp_path).rows == 2
    assert rows(tmp_path) == before


def test_a_full_disk_is_reported_in_one_line(tmp_path, refused):
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"new": 1.0}, 1)
    logger.save()
    (tmp_path / "metrics.csv").unlink()
    (tmp_path / "metrics.csv").symlink_to("/dev/full")
    logger.log_metrics({"new": 1.0}, 2)
    with refused("metrics.csv: cannot be written (No space left on device)"):
        logger.save()


@pytest.mark.parametrize("content", [b"name,age\nx,3\n", b"\x89PNG\r\n\xff", b"\x00\x01\n"])
def test_a_table_of_another_kind_is_refused_and_kept(content, tmp_path, refused):
    (tmp_path / "metrics.csv").write_bytes(content)
    with refused(f"{tmp_path}/metrics.csv: is not the table of a run", "move it away"):
        MetricsCSV(tmp_path)
    assert (tmp_path / "metrics.csv").read_bytes() == content


def test_an_empty_file_of_a_killed_process_is_begun_again(tmp_path):
    (tmp_path / "metrics.csv").touch()
    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"train/nll": 1.5}, 0)
    logger.save()
    assert rows(tmp_path) == [{"step": "0", "train/nll": "1.5"}]


def test_a_full_disk_leaves_no_part_of_a_header(tmp_path, monkeypatch, refused):
    def full(*_):
        raise OSError(28, "No space left on device")

    logger = MetricsCSV(tmp_path)
    logger.log_metrics({"train/nll": 1.5}, 0)
    monkeypatch.setattr(csv.DictWriter, "writeheader", full)
    with refused("metrics.csv: cannot be written (No space left on device)"):
        logger.save()
    assert list(tmp_path.iterdir()) == []


class EachBatch(Callback):
    """Logs at the start of each batch, after which Lightning does not save the loggers."""

    def on_train_batch_start(self, trainer, *_):
        trainer.logger.log_metrics({"lr": 0.1}, trainer.global_step)


class Counted(LastCheckpoint):
    """Compares the number of rows in each checkpoint with those in the file."""

    def _save(self, trainer, request):
        super()._save(trainer, request)
        saved = torch.load(self.path, weights_only=True)[KEY]["rows"]
        assert saved == len(rows(self.path.parent)) > 0


def test_a_checkpoint_counts_the_rows_that_a_killed_process_leaves(fit, tmp_path):
    app = Density(flow.vector(2, depth=1, hidden=(4,)))
    data = Toy("moons", n=200, n_test=10, batch_size=32)
    callbacks = [EachBatch(), Counted(tmp_path, minutes=0)]
    logger = MetricsCSV(tmp_path)
    fit(app, data, max_steps=3, logger=logger, callbacks=callbacks, enable_checkpointing=True)
    assert (tmp_path / "last.ckpt").is_file()
