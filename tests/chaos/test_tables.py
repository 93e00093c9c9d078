"""Tables that were spoilt: read with the same numbers as by a strict reader, or refused."""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from chaos.conftest import QUIET
from chaos.explore import explore
from chaos.sandbox import REFUSED, WORKED, Answer, Short, check_refusal, require
from chaos.settings import share
from chaos.values import damaged, numbers, strings, texts
from innflow.config.message import one_line
from innflow.data.table.files import read_labels, read_rows, read_table
from innflow.errors import InnflowError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
"""What a cell with a number may look like, spaces around it aside."""
ROWS = [["a", "b"], ["0.5", "-1"], ["1e-3", "2.25"], ["-0.125", "3"], ["4", "5"], ["0", "1e1"]]
CELLS = (
    *("", " ", "nan", "NaN", "inf", "-inf", "1e39", "-1e400", "1_000", "0x10", "1,5", "1.5.2"),
    *("--1", "1e", "e5", "+", "1 2", "\u0663", "\uff11", "\u00bd", "1j", "True", "None", "NULL"),
    *("#N/A", "=1+1", '"', "'1'", '"1\n2"', "1\x00", "\ufeff1", "\u200b1", "1\u00a0", "1e-50"),
    *("1" * 400, "0." + "0" * 5000 + "1"),
)
SEPARATORS = (*[","] * 20, ";", "\t", " ", "|", ", ", "\0")
ENDS = (*["\n"] * 20, "\r\n", "\r", "\n\n", "\x0b", "\u2028", "\n#x\n", ",\n", "")
CODES = (*["utf-8"] * 12, "utf-8-sig", "utf-16", "latin-1", "utf-32")


@st.composite
def tables(draw: Any) -> bytes:
    """A CSV file in which cells, rows, separators, ends of lines or bytes are wrong."""
    rows = [list(row) for row in ROWS]
    for _ in range(draw(st.integers(0, 2))):
        at, column = draw(st.integers(0, len(rows) - 1)), draw(st.integers(0, 1))
        cell = draw(st.one_of(*[st.sampled_from(CELLS)] * 4, texts, strings, numbers.map(str)))
        kind = draw(st.sampled_from((*["cell"] * 9, "gone", "short", "long", "twice")))
        if kind == "cell" and column < len(rows[at]):
            rows[at][column] = cell
        elif kind == "gone" and len(rows) > 1:
            del rows[at]
        elif kind == "short":
            rows[at] = rows[at][:1]
        elif kind == "long":
            rows[at] = [*rows[at], cell]
        else:
            rows.insert(at, list(rows[at]))
    separator, end = draw(st.sampled_from(SEPARATORS)), draw(st.sampled_from(ENDS))
    buffer = io.StringIO(newline="")
    if draw(st.booleans()) and len(separator) == 1 and separator != "\0":
        csv.writer(buffer, delimiter=separator, lineterminator=end or "\n").writerows(rows)
        text = buffer.getvalue()
    else:
        text = end.join(separator.join(row) for row in rows) + end
    content = text.encode(draw(st.sampled_from(CODES)), "replace")
    return draw(st.one_of(*[st.just(content)] * 4, damaged(content)))


def strict(content: bytes, columns: Sequence[str] | None = None) -> np.ndarray | None:
    """Return the numbers of a CSV file, or None where any cell is not clearly a number."""
    try:
        text = content.decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except (UnicodeDecodeError, csv.Error):
        return None
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        return None
    header = [cell.strip() for cell in rows[0]]
    if len(set(header)) < len(header) or not set(columns or ()) <= set(header):
        return None
    at = [header.index(column) for column in columns or header]
    cells = [[row[i].strip() for i in at] for row in rows[1:]]
    if not all(NUMBER.fullmatch(cell) for row in cells for cell in row):
        return None
    with np.errstate(over="ignore"):
        found = np.array(cells, dtype=np.float64).reshape(len(cells), len(at)).astype(np.float32)
    return found if np.isfinite(found).all() else None


def agree(values: np.ndarray, content: bytes, columns: Sequence[str] | None = None) -> None:
    """Check numbers that were accepted against a strict reader."""
    expected = strict(content, columns)
    require(expected is not None, f"accepted what a strict reader refuses, as {values.tolist()}")
    same = expected is not None and np.array_equal(values, expected)
    require(same, f"read {values.tolist()}")


def in_one_line(read: Any) -> Any:
    """Return what a function of the package returns; None where it refuses in one line."""
    try:
        return read()
    except InnflowError as error:
        check_refusal(Answer(2, "", f"innflow: error: {one_line(error)}\n"))
    except Exception as error:
        raise Short(f"{type(error).__name__}: {str(error).splitlines()[:1]}") from None


def test_tables_that_are_read(tmp_path):
    path = tmp_path / "table.csv"

    def check(content: bytes) -> str:
        path.write_bytes(content)
        found = in_one_line(lambda: read_table(path))
        if found is None:
            require(not plain(content), "refused a valid table")
            return REFUSED
        require(len(found[1]) == len(found[0]), "names and rows differ in number")
        agree(found[0].numpy(), content)
        chosen = in_one_line(lambda: read_rows(str(path), ["b", "a"], "y"))
        if chosen is not None and set(content.decode("utf-8-sig").split()[0].split(",")) >= {
            "a",
            "b",
        }:
            agree(chosen.numpy(), content, ["b", "a"])
        in_one_line(lambda: read_labels(path, "a"))
        return WORKED

    explore("tables (.csv) as files", tables(), share(13), check)


def plain(content: bytes) -> bool:
    """Return whether a table is beyond doubt: the columns a and b, numbers, commas, newlines."""
    lines = content.split(b"\n")
    row = re.compile(rb"-?\d{1,3}(\.\d{1,3})?,-?\d{1,3}(\.\d{1,3})?")
    whole = len(lines) > 2 and lines[0] == b"a,b" and not lines[-1]
    return whole and all(row.fullmatch(line) for line in lines[1:-1])


def archives() -> list[dict[str, np.ndarray]]:
    """Return arrays of shapes and types that a table may or may not have."""
    x = np.arange(12.0).reshape(6, 2)
    return [
        {"x": x},
        *(
            {"x": x.astype(kind)}
            for kind in ("f4", "f2", "i8", "u1", "?", "c8", "U5", "S3", "M8[s]", ">f8")
        ),
        *(
            {"x": value}
            for value in (x[:0], x[:, :0], x[None], x[0, 0], x[0], np.full((2, 2), np.nan))
        ),
        {"x": x.astype(object)},
        {"x": x, "y": x[:3]},
        {"x": x, "label": np.array(list("abcdef"))},
        {"x": np.zeros(3, dtype=[("a", "f8"), ("b", "i4")])},
        {"": x},
        {"../x": x},
        {"a/b": x, "c\nd": x},
        {},
    ]


def reading(path: Path, expected: Callable[[], np.ndarray]) -> Callable[[bytes], str]:
    """Return a check of a table: it is refused, or its numbers are those of another reader."""

    def check(content: bytes) -> str:
        path.write_bytes(content)
        found = in_one_line(lambda: read_table(path))
        if found is None:
            return REFUSED
        other = expected().astype(np.float32)
        require(np.array_equal(found[0].numpy(), other), "read other numbers")
        require(np.isfinite(other).all(), "accepted what is not finite")
        return WORKED

    return check


def test_archives_that_are_read(tmp_path):
    path = tmp_path / "table.npz"
    whole = []
    for arrays in archives():
        buffer = io.BytesIO()
        np.savez(buffer, **arrays) if "" not in arrays else np.savez(buffer, arrays[""])
        whole.append(buffer.getvalue())
    cases = st.sampled_from(whole).flatmap(lambda data: st.one_of(st.just(data), damaged(data)))

    def expected() -> np.ndarray:
        with np.load(path, allow_pickle=False) as file:
            return np.column_stack([file[name] for name in file.files])

    explore("tables (.npz) as files", cases, share(5), reading(path, expected))


def test_parquet_that_is_read(tmp_path):
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "table.parquet"
    whole = []
    columns = ([0.5, 1.0], [1, 2], [None, 1.0], ["a", "b"], [True, False], [[1], [2]], [b"1", b"2"])
    for column in columns:
        pq.write_table(pa.table({"a": column, "b": [1.0, 2.0]}), path)
        whole.append(path.read_bytes())
    cases = st.sampled_from(whole).flatmap(lambda data: st.one_of(st.just(data), damaged(data)))

    def expected() -> np.ndarray:
        columns = pq.read_table(path).to_pydict()
        return np.array([columns["a"], columns["b"]], dtype=np.float64).T

    explore("tables (.parquet) as files", cases, share(3), reading(path, expected))


def test_tables_of_commands(case, moons_run, arm_run):
    def check(given: tuple[str, bytes]) -> str:
        command, content = given
        with case() as box:
            names = (b"y0", b"y1") if command == "posterior" else (b"a", b"b")
            head, _, rest = content.partition(b"\n")
            (box.here / "t.csv").write_bytes(
                head.replace(b"a", names[0]).replace(b"b", names[1]) + b"\n" + rest
            )
            if command == "train":
                more = (
                    *QUIET,
                    "data=table",
                    "data.path=t.csv",
                    "data.batch_size=2",
                    "analysis=none",
                )
                more += (
                    "+debug=fdr",
                    "model.depth=1",
                    "model.hidden=[4]",
                    "score=none",
                    "run_dir=run",
                )
                more += ("data.test=0.2", "data.holdout=0.2")
                return box.call("innflow-train", *more, may_write=["run"])
            shutil.copytree(arm_run if command == "posterior" else moons_run, box.here / "run")
            if command == "posterior":
                asked = ("run=run", "y=t.csv", "n=4", "out=out")
                return box.call("innflow-posterior", *asked, may_write=["out"])
            asked = ("run=run", "input=t.csv", "out=scores.csv")
            return box.call(
                "innflow-score", *asked, may_write=["scores.csv"], right=lambda _: scored(box.here)
            )

    commands = st.sampled_from(("score", "score", "score", "train", "posterior"))
    explore("tables given to commands", st.tuples(commands, tables()), share(4), check)


def scored(here: Path) -> None:
    """Check that scores.csv has a finite score for each row of the table."""
    expected = strict((here / "t.csv").read_bytes())
    require(expected is not None, "scored what a strict reader refuses")
    with (here / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    require(expected is not None and len(rows) == len(expected), "rows are missing")
    require(all(np.isfinite(float(row["score"])) for row in rows), "a score is not finite")
