"""Progress bars with rates, and lines for the user."""

import os
import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich import progress
from rich.console import Console
from rich.text import Text

T = TypeVar("T")


def is_leader() -> bool:
    """Return whether this process is the first rank, or the only one."""
    from pytorch_lightning.utilities import rank_zero_only  # late: it imports torch

    # Before training, the first process of another node has only the rank of its node.
    return getattr(rank_zero_only, "rank", 0) == 0 and os.environ.get("NODE_RANK", "0") == "0"


def announce(text: str) -> None:
    """Write a line for the user on stdout and flush it; only the first rank does."""
    if is_leader():
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


class RateColumn(progress.ProgressColumn):
    """Items per second, averaged over the last seconds of the task."""

    def render(self, task: progress.Task) -> Text:
        """Return the rate of one task."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.1f}/s" if speed else "", style="progress.data.speed")


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield the items of an iterable behind a progress bar on stderr.

    The output of a command on stdout can be piped. Nothing is drawn where stderr is no terminal (a
    log file, a cluster job).
    """
    console, total = Console(stderr=True), len(items) if isinstance(items, Sized) else total
    counts = (progress.MofNCompleteColumn(), RateColumn(), progress.TimeRemainingColumn())
    columns = (progress.TextColumn("{task.description}"), progress.BarColumn(), *counts)
    hidden = not console.is_terminal
    with progress.Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        yield from bar.track(items, total=total, description=description)
