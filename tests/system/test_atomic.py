from __future__ import annotations

import os

import numpy as np
import pytest

from innflow.system.file import atomic


def test_a_file_replaces_the_old_one_when_the_block_ends(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with atomic.writing(path, "w") as file:
        file.write("für\n")
        assert path.read_text() == "old"
    assert path.read_bytes() == "für\n".encode()
    with atomic.writing(path) as file:
        file.write(b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failing", ["block", "fsync", "replace"])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, failing):
    path = tmp_path / "weights.npz"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("no space left")

    if failing != "block":
        monkeypatch.setattr(os, failing, fail)

    def write():
        with atomic.writing(path) as file:
            file.write(b"new")
            if failing == "block":
                fail()

    with pytest.raises(OSError, match="no space"):
        write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_content_reaches_the_disk_before_the_name_and_then_the_folder(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: calls.append("fsync") or fsync(number))
    monkeypatch.setattr(os, "replace", lambda *paths: calls.append("replace") or replace(*paths))
    atomic.write_json(tmp_path / "metrics.json", {"a": 1})
    atomic.write_arrays(tmp_path / "scores.npz", {"x": np.arange(3)})
    assert calls == ["fsync", "replace", "fsync"] * 2  # the file, its name, the folder
    assert np.load(tmp_path / "scores.npz")["x"].tolist() == [0, 1, 2]


def test_a_folder_appears_whole(tmp_path):
    path = tmp_path / "drawings"
    with atomic.writing_folder(path) as partial:
        (partial / "cat.png").write_text("cat")
        assert not path.exists()
    assert [file.name for file in path.iterdir()] == ["cat.png"]

    def interrupted() -> None:
        with atomic.writing_folder(tmp_path / "half") as partial:
            (partial / "cat.png").write_text("cat")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == [path]


def test_the_first_of_two_writers_of_a_folder_wins(tmp_path):
    path = tmp_path / "drawings"
    with atomic.writing_folder(path) as slow:
        (slow / "slow.png").touch()
        with atomic.writing_folder(path) as fast:
            (fast / "fast.png").touch()
    assert [file.name for file in path.iterdir()] == ["fast.png"]
    assert list(tmp_path.iterdir()) == [path]
