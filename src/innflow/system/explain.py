"""Errors of the machine, the network and the libraries as one line for the user."""

import errno
import re
import traceback
from collections.abc import Callable

REMEDIES = {
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there",
    errno.EACCES: "check its permissions",
    errno.EPERM: "check its permissions",
    errno.EROFS: "choose another folder",
    errno.ENOENT: "it was removed, or never there",
    errno.EMFILE: "raise the limit of open files (ulimit -n), or lower data.workers",
    errno.EIO: "check the disk or the network drive",
    errno.ESTALE: "check the network drive",
}


def explain(error: BaseException) -> str | None:
    """Return the line for an error whose cause lies outside of innflow, None for any other.

    The notes of the error are appended, for example where a run can be resumed.

    >>> explain(MemoryError("Unable to allocate 3. GiB for an array"))
    'out of memory (Unable to allocate 3. GiB): lower data.batch_size, or the size of the model'
    >>> explain(KeyError("x")) is None
    True
    """
    line = _find(error)
    return None if line is None else "; ".join([line(error), *getattr(error, "__notes__", ())])


def note(error: BaseException, text: str) -> None:
    """Add a note to an error, as `BaseException.add_note` of Python 3.11 does."""
    vars(error)["__notes__"] = [*getattr(error, "__notes__", ()), text]


def is_lost_rank(error: BaseException) -> bool:
    """Return whether a collective operation failed, as it does when another rank has ended."""
    return _find(error) is _rank


def _find(error: BaseException) -> Callable[[BaseException], str] | None:
    kinds = {f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__}
    found = (line for kind, text, line in _FAULTS if kind in kinds and re.search(text, str(error)))
    return next(found, None)


def _memory(error: BaseException) -> str:
    found = re.search(r"(tried|Tried|Unable) to allocate [\d.]+ ?\w+", str(error))
    frames = [frame.f_globals["__name__"] for frame, _ in traceback.walk_tb(error.__traceback__)]
    own = [name for name in frames if name.startswith("innflow.")]
    where = f" in {own[-1]}" if own else ""
    reason = f" ({found.group()})" if found else ""
    return f"out of memory{where}{reason}: lower data.batch_size, or the size of the model"


def _worker(error: BaseException) -> str:
    return (
        "a worker process of the data loader was killed, perhaps out of memory: lower data.workers"
    )


def _rank(error: BaseException) -> str:
    rank, how = (getattr(error, name, None) for name in ("error_index", "signal_name"))
    who = "another rank" if rank is None else f"rank {rank}"
    return f"{who} ended{f' by {how}' if how else ''}, and training with it"


def _setting(error: BaseException) -> str:
    return f"trainer: {' '.join(str(error).split())}"


def _system(error: BaseException) -> str:
    code = getattr(error, "errno", None)
    names = (getattr(error, name, None) for name in ("filename", "filename2"))
    where = " -> ".join(str(name) for name in names if name is not None)
    remedy = f"; {REMEDIES[code]}" if code in REMEDIES else ""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{where or 'the system'}: {reason}{remedy}"


_FAULTS: tuple[tuple[str, str, Callable[[BaseException], str]], ...] = (
    # (name of the exception or of a base class, pattern of its message, its line). Names, because
    # importing torch would delay every command.
    ("builtins.MemoryError", "", _memory),
    ("torch.OutOfMemoryError", "", _memory),
    ("builtins.OSError", rf"^\[Errno {errno.ENOMEM}\]", _memory),
    ("builtins.RuntimeError", "DataLoader worker", _worker),
    ("builtins.RuntimeError", "(can't allocate|not enough|out of) memory", _memory),
    ("builtins.RuntimeError", "(?i)gloo|nccl|connection (closed|reset) by peer", _rank),
    ("torch.distributed.DistError", "", _rank),
    ("torch.multiprocessing.spawn.ProcessExitedException", "", _rank),
    ("lightning_fabric.utilities.exceptions.MisconfigurationException", "", _setting),
    ("builtins.OSError", "", _system),
)
