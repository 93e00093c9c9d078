from __future__ import annotations

import os
import sys

import numpy as np
import pyarrow
import pytest
import torch
from pyarrow import parquet

from innflow.data.table.files import read_table
from innflow.data.table.table import Table
from innflow.errors import InnflowError

VALUES = np.random.default_rng(0).standard_normal((60, 3))


def write(path, values=VALUES, header="a,b,c"):
    np.savetxt(path, values, delimiter=",", header=header, comments="", fmt="%.17g")
    return path


def test_sets_hold_every_row_once(tmp_path):
    data = Table(write(tmp_path / "t.csv"), holdout=0.1, test=0.2, seed=1)
    assert data.shape == (3,)
    sets = data.sets()
    assert {name: len(part) for name, part in sets.items()} == {
        "train": 43,
        "val": 5,
        "test": 12,
    }
    names = [name for part in sets.values() for name in part.names]
    assert sorted(names) == sorted(f"t.csv/{i}" for i in range(60))
    x = torch.cat([part.parts["x"] for part in sets.values()])
    order = [int(name.split("/")[1]) for name in names]
    assert np.array_equal(x.numpy(), VALUES[order].astype(np.float32))
    other = Table(tmp_path / "t.csv", test=0.2, seed=2).sets()
    assert other["test"].names != sets["test"].names


def test_columns_are_chosen_in_order_and_outliers_follow(tmp_path):
    odd = write(tmp_path / "odd.csv", VALUES[:7, ::-1], "c,b,a")
    data = Table(write(tmp_path / "t.csv"), columns=["c", "a"], outliers=odd)
    assert data.shape == (2,)
    outliers = data.sets()["outliers"]
    assert outliers.role == "outlier"
    assert np.allclose(outliers.parts["x"], VALUES[:7, [2, 0]])


def test_shape_needs_the_header_only(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\nnot,read\n")
    assert Table(path).shape == (2,)


def test_npz_and_parquet(tmp_path):
    np.savez(tmp_path / "t.npz", a=VALUES[:, 0], pair=VALUES[:, 1:].astype(np.float32))
    assert Table(tmp_path / "t.npz").shape == (3,)
    assert Table(tmp_path / "t.npz", columns=["pair"]).shape == (2,)
    x, names = read_table(tmp_path / "t.npz")
    assert np.allclose(x, VALUES)
    assert names[-1] == "t.npz/59"
    columns = {name: VALUES[:, i] for i, name in enumerate("abc")}
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    assert Table(tmp_path / "t.parquet").shape == (3,)
    assert np.allclose(read_table(tmp_path / "t.parquet", ["b", "a"])[0], VALUES[:, [1, 0]])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,2\n3,x\n", r"t\.csv, line 3, column b: 'x' is not a finite number"),
        ("a,b\n1,2\n\n3,nan\n", r"line 4, column b: 'nan'"),
        ("a,b\n1,\n", r"line 2, column b: ''"),
        ("a,b\n1,2,3\n", r"line 2: 3 cells for 2 columns"),
        ("a,b\n", "no rows"),
        ("", "no columns"),
        ("1,2\n3,4\n", "expected the column names"),
        ("a,a\n3,4\n", "names a column twice"),
        ("a,b\n1,1e39\n", r"row 0 \(from 0\), column b: 1e\+39"),
    ],
)
def test_what_is_wrong_with_a_csv(tmp_path, text, says):
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(InnflowError, match=says):
        read_table(path)


def test_bytes_that_are_no_text(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b\n1,2\n\xff\xfe,3\n")
    with pytest.raises(InnflowError, match="cannot be read"):
        read_table(path)


def test_settings_stop_in_the_constructor(tmp_path):
    path = write(tmp_path / "t.csv")
    with pytest.raises(InnflowError, match="no column d: choose from a, b, c"):
        Table(path, columns=["d"])
    with pytest.raises(InnflowError, match="each column once"):
        Table(path, columns=["a", "a"])
    with pytest.raises(InnflowError, match=r"data\.test=1"):
        Table(path, test=1)
    with pytest.raises(InnflowError, match=r"nowhere\.csv does not exist"):
        Table(tmp_path / "nowhere.csv")
    with pytest.raises(InnflowError, match=r"expected a file of the kind \.csv"):
        Table(tmp_path / "t.xlsx")


def test_damaged_and_unfit_archives(tmp_path):
    path = tmp_path / "t.npz"
    path.write_bytes(b"no archive")
    with pytest.raises(InnflowError, match="cannot be read"):
        Table(path)
    np.savez(path, a=np.zeros(3), b=np.zeros(4))
    with pytest.raises(InnflowError, match="differ in length"):
        Table(path)
    np.savez(path, a=np.array(["x"]))
    with pytest.raises(InnflowError, match="array a"):
        Table(path)
    np.savez(path, pair=np.array([[0.0, 1.0], [2.0, np.inf]]))
    with pytest.raises(InnflowError, match=r"row 1 \(from 0\), column pair: inf"):
        read_table(path)


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (tmp_path / "t.parquet").write_bytes(b"")
    with pytest.raises(InnflowError, match="pip install pyarrow"):
        Table(tmp_path / "t.parquet")


def test_a_pipe_is_no_table(tmp_path, refused):
    os.mkfifo(tmp_path / "t.csv")
    with refused("t.csv is a named pipe (FIFO)"):
        Table(tmp_path / "t.csv")
