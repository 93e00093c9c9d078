"""Tables that a seeded generator has changed: read rightly, or refused by line and column."""

from __future__ import annotations

import zipfile
from collections.abc import Callable

import numpy as np
import pytest

from innflow.data.table.files import read_table
from innflow.data.table.table import Table
from innflow.errors import InnflowError

pytestmark = pytest.mark.extended

NAMES = ["mass", "radius", "age"]
VALUES = np.random.default_rng(0).standard_normal((20, 3)).round(6)
Cells = list[list[str]]


def cells() -> Cells:
    return [NAMES.copy(), *([f"{value:.6f}" for value in row] for row in VALUES)]


def text(table: Cells) -> str:
    return "".join(",".join(row) + "\n" for row in table)


def every(change: Callable[[str], str]) -> Callable[[Cells, np.random.Generator], str]:
    return lambda table, _: text([[change(cell) for cell in row] for row in table])


def insert_blank(table: Cells, rng: np.random.Generator) -> str:
    lines = text(table).splitlines()
    lines.insert(int(rng.integers(len(lines) + 1)), rng.choice(["", "   ", "\t"]))
    return "\n".join(lines)


HARMLESS = {
    "byte order mark": lambda table, _: "\ufeff" + text(table),
    "CRLF": lambda table, _: text(table).replace("\n", "\r\n"),
    "CR": lambda table, _: text(table).replace("\n", "\r"),
    "no last line end": lambda table, _: text(table)[:-1],
    "quoted": every(lambda cell: f'"{cell}"'),
    "padded": every(lambda cell: f" {cell}  "),
    "padded and quoted": every(lambda cell: f' "{cell}" '.rstrip()),
    "blank line": insert_blank,
}


def put(value: str) -> Callable[[Cells, int, int], None]:
    def change(table: Cells, row: int, column: int) -> None:
        table[row][column] = value

    return change


IN_A_CELL = {
    **{repr(value): put(value) for value in ("", " ", "x", "nan", "NA", "inf", "-", "1_000")},
    **{value: put(value) for value in ("1.5.2", "0x1f", "1e999", "12:30", "50%", "\u00bd", "True")},
    "decimal comma": put('"1,5"'),
    "two numbers": put("1 2"),
}
IN_A_ROW = {
    "cell missing": lambda table, row, column: table[row].pop(column),
    "cell too many": lambda table, row, column: table[row].insert(column, "1"),
    "semicolons": lambda table, row, _: table.__setitem__(row, [";".join(table[row])]),
}
IN_THE_HEADER = {
    "no name": lambda header, at: header.__setitem__(at, " "),
    "a name twice": lambda header, at: header.__setitem__(at, header[at - 1]),
    "an unnamed index": lambda header, _: header.insert(0, ""),
}


def refused(path) -> str:
    with pytest.raises(InnflowError) as caught:
        read_table(path)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    return line


@pytest.mark.parametrize("seed", range(5))
def test_tables_with_one_change(seed, tmp_path):
    rng = np.random.default_rng(seed)
    path = tmp_path / "t.csv"
    for name, change in HARMLESS.items():
        path.write_bytes(change(cells(), rng).encode())
        x, _ = read_table(path)
        assert np.array_equal(x.numpy(), VALUES.astype(np.float32)), name
    for name, change in (IN_A_CELL | IN_A_ROW).items():
        table = cells()
        row, column = int(rng.integers(1, 21)), int(rng.integers(3))
        change(table, row, column)
        path.write_text(text(table))
        line = refused(path)
        assert f"line {row + 1}" in line, name
        assert name in IN_A_ROW or f"column {NAMES[column]}" in line, name
    for change in IN_THE_HEADER.values():
        table = cells()
        change(table[0], int(rng.integers(3)))
        path.write_text(text(table))
        assert "first line" in refused(path)
    for encoding in ("latin-1", "utf-16"):
        table = cells()
        row = int(rng.integers(1, 21))
        table[row][0] = "\u00fc"
        path.write_bytes(text(table).encode(encoding))
        place = row + 1 if encoding == "latin-1" else 1
        assert f"line {place}: is not UTF-8 text" in refused(path)


@pytest.mark.parametrize("seed", range(5))
def test_damaged_bytes_give_a_table_or_one_line(seed, tmp_path):
    rng = np.random.default_rng(seed)
    np.savez(tmp_path / "plain.npz", x=VALUES)
    np.savez_compressed(tmp_path / "packed.npz", x=VALUES)
    (tmp_path / "t.csv").write_text(text(cells()))
    for name in ("t.csv", "plain.npz", "packed.npz"):
        whole = (tmp_path / name).read_bytes()
        for _ in range(20):
            damaged = bytearray(whole)
            at = int(rng.integers(len(whole)))
            if rng.random() < 0.5:
                del damaged[at : at + int(rng.integers(1, 200))]
            else:
                damaged[at] = int(rng.integers(256))
            (tmp_path / name).write_bytes(damaged)
            check(tmp_path / name)
    for _ in range(40):  # of the header of an array, with a correct checksum
        with zipfile.ZipFile(tmp_path / "plain.npz", "w") as archive:
            np.save(tmp_path / "x.npy", VALUES)
            data = bytearray((tmp_path / "x.npy").read_bytes())
            data[int(rng.integers(128))] = ord(rng.choice(list("0123<>fiO(),'[]{} ")))
            archive.writestr("x.npy", bytes(data))
        check(tmp_path / "plain.npz")


def check(path) -> None:
    line, sets = path.name, {}
    try:
        sets = Table(path).sets()
    except InnflowError as error:
        line = str(error)
    assert path.name in line
    assert "\n" not in line
    assert all(part.parts["x"].isfinite().all() for part in sets.values())
