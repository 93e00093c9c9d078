"""Learning-rate schedules over the training progress, in steps or in time."""

import math
from collections.abc import Callable
from functools import partial

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Timer

from innflow.errors import InnflowError

Schedule = Callable[[float], float]
"""Maps progress in [0, 1] to a factor on the learning rate."""


def constant(warmup: float = 0.0) -> Schedule:
    """Return a schedule that rises linearly during the warm-up and then stays at 1.

    Args:
        warmup: share of the run in which the rate rises, in [0, 1).

    Example:
        >>> constant(warmup=0.5)(0.25), constant(warmup=0.5)(0.9)
        (0.5, 1.0)
    """
    return cosine(warmup=warmup, final=1.0)


def cosine(warmup: float = 0.02, final: float = 0.0) -> Schedule:
    """Return a linear warm-up followed by half a cosine down to `final`.

    Args:
        warmup: share of the run in which the rate rises, in [0, 1).
        final: factor at the end, in [0, 1].

    Raises:
        InnflowError: if an argument is out of range.

    Example:
        >>> [round(cosine(warmup=0.2)(share), 2) for share in (0.1, 0.2, 0.6, 1.0)]
        [0.5, 1.0, 0.5, 0.0]
    """
    if not 0 <= warmup < 1 or not 0 <= final <= 1:
        raise InnflowError(
            f"schedule: warmup={warmup}, final={final}: warmup must be in [0, 1), final in [0, 1]"
        )
    return partial(_factor, warmup=warmup, final=final)


def _factor(progress: float, warmup: float, final: float) -> float:
    # At module level, as `strategy=ddp_spawn` pickles the application, and closures do not pickle.
    if progress < warmup:
        return progress / warmup
    fall = min(1.0, (progress - warmup) / (1 - warmup))
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * fall))


def progress(trainer: Trainer, steps: float) -> float:
    """Return the training progress in [0, 1], the larger of the shares of steps and of time.

    A run limited by `max_time` is thus annealed like one limited by its number of steps, `steps`,
    which is infinite if only the time is limited.
    """
    shares = [trainer.global_step / max(steps, 1)]
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        left = callback.time_remaining("train") if isinstance(callback, Timer) else None
        if left is not None:
            elapsed = callback.time_elapsed("train")
            shares.append(elapsed / (elapsed + left))
    return min(1.0, max(shares))
