from __future__ import annotations

import pickle
from types import SimpleNamespace

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet

from innflow.data.table.pairs import Pairs
from innflow.errors import InnflowError

VALUES = np.random.default_rng(0).random((60, 5))
NAMES = ["depth", "speed", "t0", "t1", "t2"]


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "t.csv"
    np.savetxt(file, VALUES, delimiter=",", header=",".join(NAMES), comments="", fmt="%.17g")
    return file


def test_sets_hold_every_pair_once(path):
    data = Pairs(path, x=["speed", "depth"], y=["t2", "t0", "t1"], test=0.2, batch_size=8)
    assert data.shapes == {"x": (2,), "y": (3,)}
    assert data.columns == {"x": ["speed", "depth"], "y": ["t2", "t0", "t1"]}
    assert data.support.low.tolist() == [-np.inf] * 2
    assert (data.prior, data.forward, data.reference, data.noise) == (None,) * 4
    sets = data.sets()
    assert {name: len(part) for name, part in sets.items()} == {
        "train": 43,
        "val": 5,
        "test": 12,
    }
    names = [name for part in sets.values() for name in part.names]
    assert sorted(names) == sorted(f"t.csv/{i}" for i in range(60))
    order = [int(name.split("/")[1]) for name in names]
    for part, columns in (("x", [1, 0]), ("y", [4, 2, 3])):
        values = torch.cat([items.parts[part] for items in sets.values()])
        assert np.array_equal(values.numpy(), VALUES[order][:, columns].astype(np.float32))
    batch = next(iter(data.train_dataloader()))
    assert batch["x"].shape == (8, 2)
    assert batch["y"].shape == (8, 3)
    assert pickle.loads(pickle.dumps(data)).shapes == data.shapes


def test_arrays_of_an_archive_and_columns_of_a_parquet(tmp_path):
    np.savez(tmp_path / "t.npz", x=VALUES[:, :2], t=VALUES[:, 2:], extra=VALUES[:, 0])
    data = Pairs(tmp_path / "t.npz", x="x", y=["t"], support=[[0, 1], [0, None]])
    assert data.columns == {"x": ["x0", "x1"], "y": ["t0", "t1", "t2"]}
    assert data.support.high.tolist() == [1.0, np.inf]
    assert data.sets()["train"].parts["y"].shape == (49, 3)
    columns = {name: VALUES[:, i] for i, name in enumerate(NAMES)}
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    data = Pairs(tmp_path / "t.parquet", x="depth", y="t0")
    assert data.shapes == {"x": (1,), "y": (1,)}
    assert len(data.sets()["test"]) == 6


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (["depth"], ["depth", "t0"], "data.x and data.y both have the column depth"),
        (["deep"], ["t0"], r"data\.x: .*csv has no column deep: choose from depth, speed, t0"),
        (["depth"], ["t9"], r"data\.y: .*csv has no column t9"),
        ([], ["t0"], "give each column once"),
        (["depth"], ["t0", "t0"], "give each column once"),
    ],
)
def test_columns_that_do_not_match(path, x, y, says):
    with pytest.raises(InnflowError, match=says):
        Pairs(path, x, y)


def test_values_that_are_missing_outside_or_constant(path):
    text = path.read_text()
    path.write_text(text + "1,2,3,,5\n")
    with pytest.raises(InnflowError, match=r"line 62, column t1: '' is not a finite number"):
        Pairs(path, "depth", ["t0", "t1"]).sets()
    path.write_text(text + "1,-2,3,4,5\n")
    with pytest.raises(InnflowError, match="parameter speed has the value -2, outside its support"):
        Pairs(path, ["depth", "speed"], ["t0"], support=[[None, None], [0, 5]]).sets()
    path.write_text("a,b\n" + "1,2\n" * 20)
    with pytest.raises(InnflowError, match=r"a is 1 in all rows of .*t\.csv"):
        Pairs(path, "a", "b").sets()


def test_names_that_collide(tmp_path):
    np.savez(tmp_path / "t.npz", a=VALUES[:, :2], a0=VALUES[:, 2], y=VALUES[:, 3])
    with pytest.raises(InnflowError, match="a0, a1, a0 have a name twice"):
        Pairs(tmp_path / "t.npz", ["a", "a0"], "y")


def test_whole_numbers_get_noise_of_their_bins_in_training(path, capsys):
    values = VALUES.copy()
    values[:, 0] = np.arange(60) % 5
    values[:, 3] = np.arange(60) // 20
    np.savetxt(path, values, delimiter=",", header=",".join(NAMES), comments="", fmt="%.17g")
    data = Pairs(path, x=["depth", "speed"], y=["t0", "t1"], batch_size=32)
    batch = data.sets()["train"].__getitems__(range(32))
    assert capsys.readouterr().out.endswith("(dequantization): depth, t1\n")
    assert data.on_after_batch_transfer(batch, 0) is batch
    data.trainer = SimpleNamespace(training=True, global_rank=0, world_size=1)
    noisy = data.on_after_batch_transfer(dict(batch), 0)
    for part, at in (("x", 0), ("y", 1)):
        change = noisy[part] - batch[part]
        assert 0.3 < change[:, at].abs().max() <= 0.5
        assert not change[:, 1 - at].any()
