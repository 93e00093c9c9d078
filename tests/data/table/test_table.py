from __future__ import annotations

import os
import sys
from datetime import date

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


def test_a_constant_column_is_left_out_and_named(tmp_path, capsys):
    values = VALUES.copy()
    values[:, 1] = 0.1
    data = Table(write(tmp_path / "t.csv", values))
    assert data.shape == data.shapes["x"] == (2,)
    assert data.columns == {"x": ["a", "c"]}
    parts = {name: part.parts["x"] for name, part in data.sets().items()}
    assert {x.shape[1] for x in parts.values()} == {2}
    line = "t.csv: constant over the training rows and left out: b (0.1)"
    assert capsys.readouterr().out.endswith(f"{line}\n")


def test_only_the_training_rows_decide_on_constant_columns(tmp_path, capsys):
    path = write(tmp_path / "t.csv")
    tested = [int(name.split("/")[1]) for name in Table(path).sets()["test"].names]
    values = VALUES.copy()
    values[:, 2] = 7
    values[tested, 2] = VALUES[tested, 2]
    odd = write(tmp_path / "odd.csv", VALUES[:5] + 1)
    data = Table(write(path, values), outliers=odd)
    assert data.shape == (2,)
    assert data.sets()["outliers"].parts["x"].shape == (5, 2)
    assert "left out: c (7)" in capsys.readouterr().out


def test_one_constant_value_of_an_array_is_left_out(tmp_path):
    values = VALUES.copy()
    values[:, 0] = 0
    np.savez(tmp_path / "t.npz", X=values)
    assert Table(tmp_path / "t.npz").columns == {"x": ["X1", "X2"]}


def test_a_run_keeps_its_columns_on_another_file(tmp_path, refused, capsys):
    values = VALUES.copy()
    values[:, 0] = 1
    other = Table(write(tmp_path / "t.csv", values))
    other.use_columns({"x": ["c", "a"]})
    assert other.shape == (2,)
    assert torch.allclose(other.sets()["train"].parts["x"][:, 1], torch.ones(1))
    line = f"warning: {tmp_path}/t.csv: at most 10 distinct values in a: the likelihood"
    assert capsys.readouterr().out.startswith(line)  # and nothing is left out
    with refused("t.csv has no column d, which the run has"):
        other.use_columns({"x": ["a", "d"]})


def test_a_table_of_constants_is_refused(tmp_path, refused):
    with refused("t.csv: every column is constant over the training rows"):
        Table(write(tmp_path / "t.csv", np.ones((20, 3))))


def test_discrete_columns_are_named(tmp_path, capsys):
    values = VALUES.copy()
    values[:, 1] = np.arange(60) % 2 / 2
    Table(write(tmp_path / "t.csv", values)).sets()
    assert "t.csv: at most 10 distinct values in b: the likelihood" in capsys.readouterr().out


def test_whole_numbers_get_noise_of_their_bins_in_training(tmp_path, capsys):
    values = VALUES.copy()
    values[:, 1] = np.arange(60) % 2
    data = Table(write(tmp_path / "t.csv", values), batch_size=50)
    x = data.sets()["train"].parts["x"]
    line = "adds uniform noise from -1/2 to 1/2 (dequantization): b\n"
    assert capsys.readouterr().out.endswith(line)
    change = torch.stack([data.augment(x) - x for _ in range(100)])
    assert not change[..., [0, 2]].any()
    assert 0.45 < change[..., 1].max() <= 0.5
    assert -0.45 > change[..., 1].min() >= -0.5
    assert abs(change[..., 1].mean()) < 0.02


MIXED = "size,colour,flag,kind\n" + "".join(
    f"{VALUES[i, 0]},{('red', 'blue', '')[i % 3]},{i % 2},{'even' if i % 4 else 'odd'}\n"
    for i in range(60)
)


def test_text_and_blanks(tmp_path, capsys):
    path = tmp_path / "t.csv"
    path.write_text(MIXED.replace(f"{VALUES[7, 0]},", "NA,").replace(f"{VALUES[9, 0]},", ","))
    data = Table(path, label="kind")
    names = ["size", "colour=blank", "colour=blue", "colour=red", "flag"]
    assert data.columns == {"x": names, "label": ["even", "odd"]}
    sets = data.sets()
    rows = {
        int(name.split("/")[1]): (x, label)
        for part in sets.values()
        for name, x, label in zip(part.names, part.parts["x"], part.parts["label"], strict=True)
    }
    assert sorted(rows) == [i for i in range(60) if i not in (7, 9)]
    for row, (x, label) in rows.items():
        colour = [float(row % 3 == i) for i in (2, 1, 0)]
        torch.testing.assert_close(x, torch.tensor([VALUES[row, 0], *colour, row % 2]).float())
        assert label == (0 if row % 4 else 1)
    out = capsys.readouterr().out
    assert "2 of 60 rows have blanks and are left out" in out
    assert "text, taken as categories: colour (3)" in out


@pytest.mark.parametrize(
    ("cells", "says"),
    [
        (["red"] * 59 + ["7"], "line 2, column b: 'red' is not a finite number"),
        (['"1,5"', '"2,5"'] * 30, "line 2, column b: '1,5' is not a finite number"),
        (["2020-01-31", "2020-02-01"] * 30, "line 2, column b: '2020-01-31'"),
        ([f"name {'x' * i}" for i in range(60)], "column b: 60 different texts (name"),
    ],
)
def test_what_is_no_category(tmp_path, refused, cells, says):
    rows = [f"{a},{b}\n" for a, b in zip(VALUES[:, 0], cells, strict=True)]
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(rows))
    with refused("t.csv", says):
        Table(tmp_path / "t.csv")


def test_text_in_parquet(tmp_path):
    columns = {"a": VALUES[:, 0], "b": ["red", "blue", None] * 20}
    parquet.write_table(pyarrow.table(columns), tmp_path / "t.parquet")
    data = Table(tmp_path / "t.parquet")
    assert data.columns == {"x": ["a", "b=blank", "b=blue", "b=red"]}
    assert data.sets()["train"].parts["x"][:, 1:].sum(dim=1).unique().tolist() == [1.0]


def test_equal_columns_are_named(tmp_path, capsys):
    values = VALUES.copy()
    values[:, 2] = values[:, 0]
    Table(write(tmp_path / "t.csv", values)).sets()
    assert "t.csv: equal columns, of which there is no density: c = a;" in capsys.readouterr().out


def test_outliers_that_are_rows_of_the_table_are_named(tmp_path, capsys):
    odd = write(tmp_path / "odd.csv", np.vstack([VALUES[3:5], VALUES[:6] + 9]))
    sets = Table(write(tmp_path / "t.csv"), outliers=odd).sets()
    assert len(sets["outliers"]) == 8
    line = capsys.readouterr().out
    assert "odd.csv: 2 of 8 outliers are equal to rows of" in line
    assert "(odd.csv/0 is t.csv/3, odd.csv/1 is t.csv/4)" in line
    Table(tmp_path / "t.csv", outliers=tmp_path / "t.csv").sets()
    assert "60 of 60 outliers are equal to rows" in capsys.readouterr().out


def test_values_that_single_precision_cannot_tell_apart(tmp_path, refused):
    values = VALUES.copy()
    values[:, 1] = 1.7e12 + np.arange(60)
    path = write(tmp_path / "t.csv", values)
    with refused("t.csv, column b: its values differ by less than single precision resolves"):
        Table(path)
    assert read_table(path)[0].shape == (60, 3)  # one row to score has no range


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
        ("a,a\n3,4\n", "names a column twice: a"),
        ("a;b\n1,5;2\n", "its columns are separated by semicolons: separate them by commas"),
        ("a\tb\n1\t2\n", "separated by tabs"),
        ("<!DOCTYPE html>\n<p>1,2</p>\n", "is HTML or XML, not CSV"),
        ('{"a": [1, 2]}\n', "is JSON, not CSV"),
        ("a\0,b\0\n", "is binary, not CSV"),
        ("a,b\n1,1_000\n", r"line 2, column b: '1_000' is not a finite number"),
        ('a,b\n1,"1,000"\n', r"line 2, column b: '1,000'"),
        (",a,b\n0,1,2\n", r"column 1 of its first line has no name: .*index=False"),
        ("a,b,\n1,2,\n", "column 3 of its first line has no name"),
        ("nan,1.5\n1,2\n", "its first line holds numbers"),
        ('a,b\n1,2\n3,"4\n5,6\n', r"line 4: no CSV: unexpected end of data"),
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
    path.write_bytes(b"a,b\n1,2\n\xff\xfe,3\n")  # as of a table in Latin-1
    with pytest.raises(InnflowError, match="line 3: is not UTF-8"):
        read_table(path)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffa,b\n1,2\n3,4\n",
        '"a","b"\n"1","2"\n"3","4"\n',
        'a, "b"\n1, "2"\n 3 , "4"\n',
        "\n\na,b\n1,2\n\n  \n3,4\n\n",
        "a,b\r\n1,2\r\n3,4",
        "a,b\r1,2\r3,4\r",
        "a,b\n1.,+2\n3e0,.4e1\n",
    ],
)
def test_what_is_read_rightly(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode())
    assert read_table(path, ["a", "b"])[0].tolist() == [[1, 2], [3, 4]]


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


@pytest.mark.parametrize(
    ("column", "says"),
    [
        ([1.0, None, 3.0], r"row 1 \(from 0\), column b: nan is not a finite number"),
        ([date(2020, 1, day) for day in (1, 2, 3)], r"column b: expected numbers, not date32"),
        (["1", "2", "3"], "column b: expected numbers, not string"),
        ([[1.0], [2.0], [3.0]], "column b: expected numbers, not list"),
        ([None, None, None], "column b: expected numbers, not null"),
    ],
)
def test_parquet_columns_that_are_no_numbers(tmp_path, column, says):
    path = tmp_path / "t.parquet"
    parquet.write_table(pyarrow.table({"a": [1, 2, 3], "b": column}), path)
    with pytest.raises(InnflowError, match=says):
        read_table(path)
    parquet.write_table(pyarrow.table({"a": [1, 2, 3], " ": [True, False, True]}), path)
    with pytest.raises(InnflowError, match="a column has no name"):
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
