"""The suite itself: every way to fall short is found."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import strategies as st

from chaos import worker as workers
from chaos.explore import explore, report
from chaos.process import Process, obey_permissions
from chaos.sandbox import REFUSED, WORKED, Short

pytestmark = pytest.mark.extended


@pytest.fixture(autouse=True)
def no_table(monkeypatch):
    """Keep the cases of these tests out of the table."""
    monkeypatch.setattr("chaos.explore.OUT", None)


def say(text: str, code: int = 2) -> None:
    sys.stderr.write(text)
    sys.exit(code)


def fine() -> None:
    Path("out").mkdir()
    Path("out/a.json").write_text("{}")


def elsewhere() -> None:
    Path("beside").touch()


def changes() -> None:
    Path("given").write_text("new")


def half() -> None:
    Path("out").mkdir()
    Path("out/a.json").write_text("{")


def partial() -> None:
    Path("out").mkdir()
    Path("out/.a.json.1.partial").touch()


def temporary() -> None:
    tempfile.mkstemp()


def runs_code() -> None:
    Path("exploded").mkdir()


HELD: list[object] = []


def leaves_a_process() -> None:
    HELD.append(subprocess.Popen(["cat"], stdin=subprocess.PIPE))


def hangs() -> None:
    select.select([], [], [])


def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


PLANTED = {
    "ran longer": hangs,
    "died of signal 9": dies,
    "left the processes": leaves_a_process,
    "ran code": runs_code,
    "made or changed here/beside": elsewhere,
    "made or changed here/given": changes,
    "is half-written": half,
    "left .a.json.1.partial": partial,
    "left the temporary file": temporary,
    "a traceback": lambda: 1 / 0,
    "without a message": lambda: sys.exit(3),
    "no line of an error": lambda: say("what\n"),
    "2 lines": lambda: say("warning\nx: error: a\n"),
    "unprintable": lambda: say("x: error: \x1b[2J\n"),
}


@pytest.mark.parametrize("reason", PLANTED)
def test_what_falls_short_is_found(reason, case, monkeypatch):
    monkeypatch.setitem(workers.COMMANDS, "planted", PLANTED[reason])
    monkeypatch.setattr(workers, "SECONDS", 0.2)
    with case() as box:
        (box.here / "given").write_text("old")
        with pytest.raises(Short, match=reason):
            box.call("planted", may_write=["out", "exploded"])
        box.worker.close()


@pytest.mark.parametrize(
    ("command", "outcome"), [(fine, WORKED), (lambda: say("x: error: a\n"), REFUSED)]
)
def test_what_keeps_the_promises_passes(command, outcome, case, monkeypatch):
    monkeypatch.setitem(workers.COMMANDS, "planted", command)
    with case() as box:
        assert box.call("planted", may_write=["out"]) == outcome
        box.worker.close()


def test_cases_differ_and_repeat(capsys):
    drawn: list[list[int]] = [[], []]
    for cases in drawn:
        explore("numbers", st.integers(0, 99), 50, lambda n, cases=cases: cases.append(n) or WORKED)
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == len(drawn[0]) == 50
    assert '"worked": 50' in capsys.readouterr().out


def test_a_kind_with_a_short_case_fails():
    with pytest.raises(pytest.fail.Exception, match="it broke"):
        report("kind", Counter(short=1), [("it broke", "example")], 0.0)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, -15), (signal.SIGINT, -2)])
def test_a_process_is_stopped(signum, code, tmp_path, monkeypatch):
    monkeypatch.setitem(workers.COMMANDS, "planted", hangs)
    process = Process(["planted"], tmp_path, {})
    process.wait(0.3)
    process.send(signum)
    answer = process.end()
    assert answer.code in (code, 1)  # the command turns ctrl-C into a traceback
    assert not answer.children


def test_a_full_disk_and_a_read_only_folder_are_felt(tmp_path, monkeypatch):
    def write() -> None:
        signal.pause()
        Path("file").write_text("x")

    monkeypatch.setitem(workers.COMMANDS, "planted", write)
    for fault, reason in (("full", "File too large"), ("read only", "Permission denied")):
        here = tmp_path / fault
        here.mkdir()
        signals = lambda: (obey_permissions(), signal.signal(signal.SIGUSR1, lambda *_: None))  # noqa: E731
        process = Process(["planted"], here, {}, signals)
        process.wait(0.5)
        process.limit_files(0) if fault == "full" else here.chmod(0o555)
        process.send(signal.SIGUSR1)
        assert reason in process.end().err
        here.chmod(0o755)
