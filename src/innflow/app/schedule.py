"""Learning-rate schedules over the progress of a run, whatever it is limited by."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Timer

from innflow.errors import InnflowError

Schedule = Callable[[float], float]
"""Maps progress in [0, 1] to a factor on the learning rate."""


def constant(warmup: float = 0.0) -> Schedule:
    """Return a schedule that rises over the warm-up share of the run and then stays at 1."""
    return cosine(warmup=warmup, final=1.0)


def cosine(warmup: float = 0.02, final: float = 0.0) -> Schedule:
    """Return a linear warm-up followed by half a cosine down to `final`.

    Args:
        warmup: share of the run in which the rate rises, in [0, 1).
        final: factor at the end, in [0, 1].
    """
    if not 0 <= warmup < 1 or not 0 <= final <= 1:
        raise InnflowError(
            f"schedule: warmup={warmup}, final={final}: takes warmup in [0, 1), final in [0, 1]"
        )

    return partial(_factor, warmup=warmup, final=final)


def _factor(progress: float, warmup: float, final: float) -> float:
    # Not a closure: an application must pickle, `strategy=ddp_spawn` sends it to its processes.
    if progress < warmup:
        return progress / warmup
    fall = min(1.0, (progress - warmup) / (1 - warmup))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * fall))


def progress(trainer: Trainer, steps: float) -> float:
    """Return how far a run has come, in [0, 1]: by its steps or by its time, whichever is further.

    A run limited by `max_time` ends with the same annealed learning rate as one limited by steps,
    on a machine of any speed.

    Args:
        trainer: of the run.
        steps: steps after which it ends, infinite where only time limits it.
    """
    shares = [trainer.global_step / max(steps, 1)]
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        left = callback.time_remaining("train") if isinstance(callback, Timer) else None
        if left is not None:
            elapsed = callback.time_elapsed("train")
            shares.append(elapsed / (elapsed + left))
    return min(1.0, max(shares))
