"""The progress of a training on stderr: share, step, time left, rate and the latest metrics."""

import sys
import time
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import ProgressBar
from rich import progress
from rich.console import Console

from innflow.app.schedule import progress as share_done

METRICS = ("bpd", "nll", "loss")
"""The first of these metrics that exists is shown, of training and of validation."""


class Progress(ProgressBar):
    """One bar for the whole training, or lines in a log where stderr is no terminal.

    Metrics are read from the device only when they are shown: reading them after every step, as
    Lightning's own bars do, makes the host wait for the accelerator.

    Args:
        seconds: between two redraws of the bar.
        line_seconds: between two lines where stderr is no terminal.

    >>> Progress(seconds=1.0).is_disabled
    False
    """

    def __init__(self, seconds: float = 0.5, line_seconds: float = 30.0) -> None:
        super().__init__()
        self.seconds, self.line_seconds = seconds, line_seconds
        self._enabled = True
        self._bar: progress.Progress | None = None

    def disable(self) -> None:
        """Show nothing; called on all ranks but the first."""
        self._enabled = False

    def enable(self) -> None:
        """Show the progress."""
        self._enabled = True

    @property
    def is_disabled(self) -> bool:
        """Whether nothing is shown."""
        return not self._enabled

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the bar."""
        self._steps = trainer.estimated_stepping_batches
        self._first_step, self._first_share = trainer.global_step, share_done(trainer, self._steps)
        self._started = self._shown = time.monotonic()
        console = Console(stderr=True)
        if self._enabled and console.is_terminal:
            columns = (
                progress.TextColumn("{task.description}"),
                progress.BarColumn(24),
                progress.TextColumn("{task.percentage:>3.0f}%  {task.fields[state]}"),
            )
            self._bar = progress.Progress(
                *columns, console=console, refresh_per_second=2, redirect_stdout=False
            )
            self._task = self._bar.add_task("training", total=1.0, state="")
            self._bar.start()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show the step if it is time to."""
        interval = self.line_seconds if self._bar is None else self.seconds
        if self._enabled and time.monotonic() - self._shown >= interval:
            self._show(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show that the steps pause."""
        self._describe("validating")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show that the steps go on."""
        self._describe("training")

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the last state of the bar on the terminal."""
        if self._bar is not None:
            self._show(trainer, pl_module)
            self._stop()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Release the terminal for the message."""
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _describe(self, text: str) -> None:
        if self._bar is not None:
            self._bar.update(self._task, description=text)

    def _show(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._shown = time.monotonic()
        share = share_done(trainer, self._steps)
        state = "  ".join(self._state(trainer, share))
        if self._bar is None:
            sys.stderr.write(f"training {share:.0%}  {state}\n")
        else:
            self._bar.update(self._task, completed=share, state=state)

    def _state(self, trainer: Trainer, share: float) -> list[str]:
        elapsed, step = self._shown - self._started, trainer.global_step
        # A time limit ends most runs long before the largest number of steps.
        by_steps = share <= step / max(self._steps, 1) + 1e-6
        parts = [f"step {step:,} of {self._steps:,.0f}" if by_steps else f"step {step:,}"]
        if share > self._first_share:
            left = elapsed * (1 - share) / (share - self._first_share)
            parts[0] += f", {_duration(left)} left"
        if elapsed > 0:
            parts.append(f"{(step - self._first_step) / elapsed:.1f} steps/s")
        metrics = trainer.progress_bar_metrics
        for stage in ("train", "val"):
            names = (f"{stage}/{name}" for name in METRICS)
            parts += [f"{name} {metrics[name]:.3f}" for name in names if name in metrics][:1]
        return parts


def _duration(seconds: float) -> str:
    """Return a duration in its two largest units.

    >>> _duration(18), _duration(75), _duration(3675)
    ('18 s', '1 min 15 s', '1 h 1 min')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
