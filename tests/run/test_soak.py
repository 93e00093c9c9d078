"""The soak tool finds growth of memory, and two of its rounds run."""

from __future__ import annotations

import csv
import importlib.util
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

PATH = Path(__file__).parents[2] / "experiments/soak/soak.py"
spec = importlib.util.spec_from_file_location("soak", PATH)
soak = importlib.util.module_from_spec(spec)
spec.loader.exec_module(soak)


@pytest.fixture(autouse=True)
def _restored(monkeypatch):
    """Give back the folders of this process that a soak takes for its own."""
    for name in ("TMPDIR", "INNFLOW_CACHE"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
        monkeypatch.delenv(name)
    monkeypatch.setattr(tempfile, "tempdir", None)


HELD: list[object] = []


def keep_file(i):
    HELD.append(open(os.devnull))  # noqa: SIM115


def keep_memory(i):
    HELD.append(np.ones(1_000_000))


def keep_thread(i):
    done = threading.Event()
    threading.Thread(target=done.wait, daemon=True).start()
    HELD.append(done)


def keep_child(i):
    HELD.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE))


def keep_shared(i):
    path = Path(f"/dev/shm/innflow-{os.getpid()}-{i}")
    path.touch()
    HELD.append(path)


@pytest.fixture
def released():
    """Let go of all that a leak has kept."""
    HELD.clear()
    yield
    for held in HELD:
        if isinstance(held, subprocess.Popen):
            held.communicate()
        elif isinstance(held, threading.Event):
            held.set()
        elif isinstance(held, Path):
            held.unlink()
        elif hasattr(held, "close"):
            held.close()
    HELD.clear()


def temporary(i):
    handle, _ = tempfile.mkstemp()
    os.close(handle)


LEAKS = {
    "open_files": keep_file,
    "rss_mib": keep_memory,
    "threads": keep_thread,
    "children": keep_child,
    "temporary": temporary,
    "shared": keep_shared,
}


@pytest.mark.extended
@pytest.mark.usefixtures("released")
@pytest.mark.parametrize("name", LEAKS)
def test_a_leak_is_found(name, tmp_path):
    rows = soak.soak(tmp_path / "out", 10, 9, lambda folder, photographs, i: LEAKS[name](i))
    assert soak.judge(rows)[name]["grew"]


def test_what_does_not_grow_is_not_said_to(tmp_path):
    rng = np.random.default_rng(0)
    quiet = [
        {"round": i, **dict.fromkeys(soak.QUANTITIES, 7.0), "rss_mib": 500 + 3 * rng.normal()}
        for i in range(60)
    ]
    assert not any(trend["grew"] for trend in soak.judge(quiet).values())
    warm = [{**row, "threads": min(row["round"], 15)} for row in quiet]
    assert not soak.judge(warm)["threads"]["grew"]
    slow = [{**row, "rss_mib": row["rss_mib"] + 0.4 * row["round"]} for row in quiet]
    assert soak.judge(slow)["rss_mib"]["grew"]


def test_growth_ends_with_exit_code_1(tmp_path, monkeypatch, capsys):
    rows = [{"round": i, "minutes": i, **dict.fromkeys(soak.QUANTITIES, 7.0)} for i in range(12)]
    monkeypatch.setattr(soak, "soak", lambda out, *args: out.mkdir() or rows)
    assert soak.main(["1", str(tmp_path / "flat")]) == 0
    for row in rows:
        row["open_files"] += row["round"]
    assert soak.main(["1", str(tmp_path / "steep")]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "GREW" in line]
    assert line.startswith("open files")
    assert {path.name for path in (tmp_path / "steep").iterdir()} == {"soak.json", "soak.png"}


@pytest.mark.slow
def test_two_rounds(tmp_path):
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, PATH, "10", out, "--rounds", "2"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "2 rounds: too few for trends" in done.stdout
    with (out / "soak.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["round"] for row in rows] == ["0", "1"]
    for row in rows:
        assert float(row["rss_mib"]) > 50
        assert all(float(row[name]) >= 0 for name in soak.QUANTITIES)
    assert (out / "soak.png").stat().st_size > 1000
    assert not (out / "round").exists()
