"""A command as a process of its own, to which things happen while it runs."""

from __future__ import annotations

import ctypes
import os
import resource
import select
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from chaos.sandbox import check_whole, require
from chaos.worker import Answer, forget_processes, run

LIMIT = 120
"""Seconds after which a process that should have ended is ended, and the case has failed."""


class Process:
    """A copy of this process that does one command, in a session of its own.

    Its output goes to pipes, which a full disk does not close.
    """

    def __init__(
        self,
        argv: Sequence[str],
        here: Path,
        env: Mapping[str, str],
        before: Callable[[], None] | None = None,
    ) -> None:
        self.streams = [os.pipe(), os.pipe()]
        self.text = [b"", b""]
        self.pid = os.fork()
        if self.pid == 0:
            code = 70
            try:
                os.setsid()
                forget_processes()
                for stream, (read, write) in enumerate(self.streams, start=1):
                    os.close(read)
                    os.dup2(write, stream)
                    os.close(write)
                for signum in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
                    signal.signal(signum, signal.SIG_DFL)
                signal.signal(signal.SIGINT, signal.default_int_handler)
                os.chdir(here)
                os.environ |= env
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                if before is not None:
                    before()
                code = run(argv)
            except KeyboardInterrupt:  # before the command began, or after its end
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                os.kill(os.getpid(), signal.SIGINT)
            except BaseException:
                traceback.print_exc()
            os._exit(code & 255)
        for _, write in self.streams:
            os.close(write)
        self.handle = os.pidfd_open(self.pid)

    def wait(self, seconds: float) -> bool:
        """Wait for its end, or for a time to pass; return whether it has ended."""
        end = time.monotonic() + seconds
        reads = [read for read, _ in self.streams]
        while True:
            left = max(0.0, end - time.monotonic())
            ready, _, _ = select.select([self.handle, *reads], [], [], left)
            for number, read in enumerate([read for read, _ in self.streams]):
                if read in ready:
                    data = os.read(read, 1 << 16)
                    self.text[number] += data
                    if not data and read in reads:
                        reads.remove(read)
            if self.handle in ready:
                return True
            if not ready:
                return False

    def send(self, signum: int) -> None:
        """Send it a signal, if it still runs."""
        if not self.wait(0.0):
            os.kill(self.pid, signum)

    def limit_files(self, size: int) -> None:
        """Let it write no file beyond a size from now on: the disk is full."""
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    def end(self, seconds: float = LIMIT) -> Answer:
        """Wait for its end and return what it has left; without a code if it had to be killed."""
        ended = self.wait(seconds)
        if not ended:
            os.kill(self.pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.handle)
        left = members(self.pid)
        for number, (read, _) in enumerate(self.streams):
            os.set_blocking(read, False)
            try:
                while data := os.read(read, 1 << 16):
                    self.text[number] += data
            except BlockingIOError:
                pass  # a process that was left behind holds the other end
            os.close(read)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        out, err = (text.decode("utf-8", "backslashreplace") for text in self.text)
        return Answer(code if ended else None, out, err, [str(pid) for pid in left])


class Place:
    """The folder of one case."""

    def __init__(self, root: Path) -> None:
        shutil.rmtree(root, ignore_errors=True)
        self.root, self.here, self.run = root, root / "here", root / "here/run"
        for name in ("here", "home", "tmp"):
            (root / name).mkdir(parents=True)
        names = {"HOME": "home", "TMPDIR": "tmp", "INNFLOW_CACHE": "cache"}
        self.env = {name: str(root / folder) for name, folder in names.items()}

    def start(self, *argv: str, before: Callable[[], None] | None = None) -> Process:
        """Start a command."""
        return Process(argv, self.here, self.env, before)

    def check(self, answer: Answer) -> None:
        """Check that no process is left, and that every file but those aside is whole."""
        require(answer.code is not None, "did not end")
        require(not answer.children, "left a process")
        for path in self.run.rglob("*"):
            if path.is_file() and not path.name.endswith(".partial"):
                check_whole(path)


def members(session: int) -> list[int]:
    """Return the living processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, own = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(own) == session and state != "Z":
            found.append(int(path.parent.name))
    return found


def obey_permissions() -> None:
    """Let root be refused by permissions, as others are, from now on."""
    if os.geteuid() == 0:
        header = (ctypes.c_uint32 * 2)(0x20080522, 0)
        data = (ctypes.c_uint32 * 6)()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.capget(header, data):
            raise OSError(ctypes.get_errno(), "capget")
        data[0] &= ~0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH, effective
        if libc.capset(header, data):
            raise OSError(ctypes.get_errno(), "capset")
