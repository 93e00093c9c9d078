from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from innflow.system.file.regular import why_not_regular


def test_files_and_links_to_files_are_regular(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to("file")
    assert why_not_regular(tmp_path / "file") is None
    assert why_not_regular(tmp_path / "link") is None


def test_what_is_not_regular_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    os.mkfifo("fifo")
    Path("dangling").symlink_to("nowhere")
    Path("circle").symlink_to("circle")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
    assert why_not_regular("fifo") == "is a named pipe (FIFO)"
    assert why_not_regular("socket") == "is a socket"
    assert why_not_regular("/dev/null") == "is a device"
    assert why_not_regular("dangling") == "is a link to a missing file"
    assert why_not_regular("none") == "does not exist"
    assert why_not_regular("circle").startswith("cannot be read (Too many levels")


@pytest.mark.parametrize("path", ["a\0b"])
def test_a_null_character_is_no_path(path):
    assert "cannot be read" in why_not_regular(path)
