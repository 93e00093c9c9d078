"""Commands in copies of this process: cheap, and whatever they do, this process lives on.

A worker does many cases one after the other, each in a folder of its own and with nothing but pipes
for its output. It is replaced when it dies, hangs, or has done `MOST` cases.
"""

from __future__ import annotations

import gc
import json
import multiprocessing.process
import multiprocessing.util
import os
import resource
import select
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from chaos.settings import MEMORY, SECONDS
from innflow.command import main as cli
from innflow.data.simulation import isolate

MOST = 25
"""Cases of one worker."""
COMMANDS: dict[str, Callable[[], None]] = {
    "innflow-train": cli.train,
    "innflow-eval": cli.evaluate,
    "innflow-sample": cli.sample,
    "innflow-score": cli.score,
    "innflow-posterior": cli.posterior,
    "innflow-compare": cli.compare,
    "innflow-export": cli.export,
    "innflow-serve": cli.serve,
    "innflow-explore": cli.explore,
    "innflow-new": cli.new,
    "innflow-sweep-report": cli.sweep_report,
}


@dataclass(frozen=True)
class Answer:
    """What a command leaves: its exit code (None: it did not end), its output, its processes."""

    code: int | None
    out: str = ""
    err: str = ""
    children: Sequence[str] = field(default_factory=list)


class Worker:
    """A copy of this process that does commands; it is forked when it is first needed.

    Attributes:
        started: all workers of this session.
    """

    started: ClassVar[list[Worker]] = []

    def __init__(self, outputs: Path) -> None:
        self.outputs = outputs
        self.pid = 0
        self.done = 0
        Worker.started.append(self)

    def call(self, argv: Sequence[str], here: Path, env: Mapping[str, str]) -> Answer:
        """Do a command in a folder, with changes of the environment."""
        if not self.pid:
            self._start()
        job = json.dumps({"argv": list(argv), "here": str(here), "env": dict(env)})
        os.write(self.to, job.encode() + b"\n")
        ready = self._wait()
        answer = os.read(self.answers, 1 << 20) if ready else b""
        self.done += 1
        out, err = (self._read(name) for name in ("out", "err"))
        if answer:
            told = json.loads(answer)
            if self.done >= MOST or told["children"]:
                self.close()
            return Answer(told["code"], out, err, told["children"])
        code = self.close()
        return Answer(code if ready else None, out, err)

    def close(self) -> int:
        """End the worker and whatever it has started; return its exit code."""
        if not self.pid:
            return 0
        os.close(self.to)
        ready, _, _ = select.select([self.answers], [], [], 0)
        if not ready:
            os.killpg(self.pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.answers)
        self.pid = self.done = 0
        return code

    def _wait(self) -> bool:
        """Wait for an answer: `SECONDS` of processor time, five times as long on a busy machine."""
        used = processor_time(self.pid)
        for _ in range(5):
            if select.select([self.answers], [], [], SECONDS)[0]:
                return True
            if processor_time(self.pid) - used >= 0.9 * SECONDS:
                break
        return False

    def _read(self, name: str) -> str:
        return (self.outputs / name).read_bytes().decode("utf-8", "backslashreplace")

    def _start(self) -> None:
        jobs, self.to = os.pipe()
        self.answers, reply = os.pipe()
        for name in ("out", "err"):
            (self.outputs / name).touch()
        gc.collect()
        gc.freeze()  # the collector of the copy would write to all pages of this process
        self.pid = os.fork()
        if self.pid:
            gc.unfreeze()
            os.close(jobs)
            os.close(reply)
            return
        try:
            os.setsid()
            os.close(self.to)
            os.close(self.answers)
            forget_processes()
            _serve(os.fdopen(jobs), reply, self.outputs)
        except BaseException:
            traceback.print_exc()
            os._exit(70)
        os._exit(0)


def forget_processes() -> None:
    """Forget the processes of the process that was copied, as a child of multiprocessing does."""
    multiprocessing.util._finalizer_registry.clear()
    multiprocessing.process._children.clear()
    isolate._UNFORKABLE = ()  # tests before may have imported Numba


def _serve(jobs: Any, reply: int, outputs: Path) -> None:
    """Do jobs until there are no more."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    environment = dict(os.environ)
    for line in jobs:
        job = json.loads(line)
        os.chdir(job["here"])
        os.environ |= job["env"]
        tempfile.tempdir = None
        for stream, name in ((1, "out"), (2, "err")):
            file = os.open(outputs / name, os.O_WRONLY | os.O_TRUNC | os.O_APPEND)
            os.dup2(file, stream)
            os.close(file)
        code = run(job["argv"])
        os.environ.clear()
        os.environ |= environment
        os.chdir("/")
        os.write(reply, json.dumps({"code": code, "children": children()}).encode())


def run(argv: Sequence[str]) -> int:
    """Do a command as a process does it, with its own streams; return the exit code."""
    sys.argv = list(argv)
    sys.stdin = open(os.devnull)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    before = set(sys.modules)
    path = list(sys.path)
    try:
        COMMANDS[argv[0]]()
        code = 0
    except SystemExit as exit:
        if exit.code is not None and not isinstance(exit.code, int):
            sys.stderr.write(f"{exit.code}\n")
        code = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    multiprocessing.util._exit_function()
    sys.path[:] = path
    for name in set(sys.modules) - before:  # a user's modules, of the folder of this case
        if str(getattr(sys.modules[name], "__file__", "") or "").startswith(os.getcwd()):
            del sys.modules[name]
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code


def processor_time(pid: int) -> float:
    """Return the seconds of processor time of a process and of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def children() -> list[str]:
    """Return the names of the processes that this one has started and that still live."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            try:
                name, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
            except OSError:
                continue
            if rest.split()[0] != "Z":
                found.append(name.partition("(")[2])
    return found
