"""Rows under the names of a run: found by name, by position, or refused."""

from __future__ import annotations

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from innflow.data.table.files import read_rows

NAMES = ["end x", "end y"]


@pytest.fixture
def table(tmp_path):
    """Return `table(text)`, the path of a .csv."""

    def write(text: str) -> str:
        path = tmp_path / "obs.csv"
        path.write_text(text)
        return str(path)

    return write


def test_columns_are_found_by_name_in_any_order(table, capsys):
    path = table("when,end y,end x\nmonday,2,1\ntuesday,4,3\n")
    assert read_rows(path, NAMES, "y").tolist() == [[1, 2], [3, 4]]
    assert capsys.readouterr().out == f"y={path}: when ignored, the run has no such columns\n"


def test_nothing_is_said_where_all_fits(table, capsys):
    assert read_rows(table("end x,end y\n1,2\n"), NAMES, "y").tolist() == [[1, 2]]
    assert capsys.readouterr().out == ""


def test_other_names_are_taken_by_position(table, capsys):
    path = table("a,b\n1,2\n")
    assert read_rows(path, NAMES, "y").tolist() == [[1, 2]]
    assert capsys.readouterr().out == f"y={path}: a, b taken by position as end x, end y\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a\n1\n", ("has the columns a", "the run has end x, end y")),
        ("a,b,c\n1,2,3\n", ("has the columns a, b, c",)),
        ("end y,x\n1,2\n", ("has the columns end y, x",)),  # a position that a name contradicts
        ("end x,end y\n1,\n", ("line 2, column end y", "not a finite number")),
        ("end x,end y\nnan,1\n", ("line 2, column end x", "nan")),
        ("end x,end y\n", ("no rows",)),
        ("1,2,3\n3,4,5\n", ("line 1: 3 cells for 2 columns",)),
        ("1,2\n3,x\n", ("line 2, column end y: 'x'",)),
    ],
)
def test_what_does_not_fit_is_refused(text, says, table, refused):
    with refused("obs.csv", *says):
        read_rows(table(text), NAMES, "y")


def test_rows_without_names_are_taken_by_position(table, capsys):
    path = table("1,2\n3,4.5\n")
    assert read_rows(path, NAMES, "y").tolist() == [[1, 2], [3, 4.5]]
    line = "has no column names, its columns are taken as end x, end y"
    assert capsys.readouterr().out == f"y={path}: {line}\n"


def test_text_becomes_the_indicators_of_the_run(table, capsys):
    names = ["colour=blue", "size", "colour=red", "colour=blank"]
    path = table("size,colour\n1,red\n2,\n3,green\n")
    expected = [[0, 1, 1, 0], [0, 2, 0, 1], [0, 3, 0, 0]]
    assert read_rows(path, names, "input").tolist() == expected
    line = "colour is of no category of the run in 1 rows"
    assert capsys.readouterr().out == f"input={path}: {line}\n"


def test_many_names_are_cut_in_a_message(table, refused):
    with refused("has y0, y1, y2, y3, y4, y5, y6, y7, ... (40 in all)"):
        read_rows(table("a\n1\n"), [f"y{i}" for i in range(40)], "y")


def test_a_long_name_is_cut_in_a_message(table, refused):
    with refused(f"has the columns {'a' * 60}..., the run has b, c"):
        read_rows(table(f"{'a' * 3000}\n1\n"), ["b", "c"], "y")


def test_a_long_cell_is_cut_in_a_message(table, refused):
    with refused(f"line 2, column a: '{'x/' * 30}...' is not a finite number"):
        read_rows(table(f"a\n{'x/' * 3000}\n"), ["a"], "y")


def test_arrays_of_an_archive(tmp_path, capsys):
    path = tmp_path / "obs.npz"
    np.savez(path, x=np.ones((3, 4)), y=np.arange(6.0).reshape(3, 2))
    assert read_rows(str(path), ["y0", "y1"], "y").tolist() == [[0, 1], [2, 3], [4, 5]]
    assert "x0, x1, x2, x3 ignored" in capsys.readouterr().out


def test_a_parquet_file(tmp_path):
    path = tmp_path / "obs.parquet"
    parquet.write_table(pyarrow.table({"end y": [2.0], "end x": [1.0]}), path)
    assert read_rows(str(path), NAMES, "y").tolist() == [[1, 2]]
