"""Stop a run on a loss that is not finite, before it reaches a checkpoint."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed as dist
from torch import Tensor

from innflow.errors import InnflowError
from innflow.system.progress import is_leader


@dataclass
class _Answer:
    """Whether something was finite, on its way from the device."""

    value: Tensor
    step: int
    what: str
    event: Any

    @classmethod
    def of(cls, finite: Tensor, step: int, what: str) -> _Answer:
        """Send for it, on all ranks: what one of them finds stops all at the same step."""
        if dist.is_initialized():
            finite = finite.int()
            dist.all_reduce(finite, dist.ReduceOp.MIN)
        if finite.device.type == "cpu":
            return cls(finite, step, what, None)
        value = finite.to("cpu", non_blocking=True)
        event = torch.get_device_module(finite.device).Event()
        event.record()
        return cls(value, step, what, event)

    def arrived(self) -> bool:
        """Whether it can be read without waiting."""
        return self.event is None or self.event.query()

    def finite(self) -> bool:
        """Wait for it and read it."""
        if self.event is not None:
            self.event.synchronize()
        return bool(self.value)


class Guard(pl.Callback):
    """Check the loss and the gradients of every step, and the likelihood of held-out data.

    On a CPU the weights are still those of the last good step when it stops. On an accelerator no
    step waits for the answer: it is read when it has arrived, and always before a validation or a
    checkpoint. So on every device the checkpoints are good. Nothing is skipped or averaged away: a
    flow whose loss was infinite once has a reason, which more steps hide.

    Raises:
        InnflowError: with the step, the terms that are not finite and the last good checkpoint.
    """

    def __init__(self) -> None:
        self._waiting: deque[_Answer] = deque()

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        """Ask whether the loss is finite."""
        self._ask(trainer, "the loss", torch.isfinite(loss))

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Ask whether the gradients are: clipping by an infinite norm gives NaN weights."""
        gradients = [_own(p.grad) for p in pl_module.parameters() if p.grad is not None]
        if gradients:
            norms = torch._foreach_norm(gradients)
            self._ask(trainer, "a gradient", torch.stack(norms).isfinite().all())

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Read all answers."""
        self._read(trainer, wait=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Read all answers."""
        self._read(trainer, wait=True)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Read all answers before anything is written."""
        self._read(trainer, wait=True)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raise where a validation metric is not finite, before it is saved as the best."""
        finite = all(bool(torch.isfinite(v)) for v in trainer.callback_metrics.values())
        answer = torch.tensor(finite, device=pl_module.device)
        if not _Answer.of(answer, trainer.global_step, "").finite():
            self._stop(trainer, "val/")

    def _ask(self, trainer: pl.Trainer, what: str, finite: Tensor) -> None:
        self._waiting.append(_Answer.of(finite, trainer.global_step, what))
        self._read(trainer)

    def _read(self, trainer: pl.Trainer, wait: bool = False) -> None:
        while self._waiting and (wait or self._due(trainer)):
            answer = self._waiting.popleft()
            if not answer.finite():
                self._stop(trainer, "train/", answer.what, answer.step)

    def _due(self, trainer: pl.Trainer) -> bool:
        first = self._waiting[0]
        if trainer.world_size == 1 or first.event is None:
            return first.arrived()
        return first.step < trainer.global_step  # read by all ranks at the same place

    @staticmethod
    def _stop(
        trainer: pl.Trainer, stage: str, what: str = "the loss", step: int | None = None
    ) -> None:
        terms = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith(stage) and not bool(torch.isfinite(value))
        }
        if dist.is_initialized():
            found: list[dict[str, float]] = [{}] * trainer.world_size
            dist.all_gather_object(found, terms)
            terms = {name: value for each in found[::-1] for name, value in each.items()}
        if not is_leader():
            # The first rank says it. One that fails before it would have it killed by Lightning.
            raise SystemExit(0)
        named = ", ".join(f"{name}={value}" for name, value in terms.items()) or what
        at = trainer.global_step if step is None else step
        raise InnflowError(
            f"training stopped at step {at}: {named} is not finite; last good "
            f"checkpoint: {last_checkpoint(trainer) or 'none yet'}. Try a smaller optimizer.lr, "
            "or a smaller trainer.gradient_clip_val"
        )


def _own(gradient: Tensor) -> Tensor:
    """Return the share of a gradient that lies on this rank; all of it where it is not divided."""
    share: Tensor = gradient.to_local() if hasattr(gradient, "to_local") else gradient
    return share


def last_checkpoint(trainer: pl.Trainer) -> str:
    """Return the path of the newest checkpoint that a run has saved, or nothing."""
    for name in ("last_model_path", "best_model_path"):
        for callback in trainer.checkpoint_callbacks:
            if getattr(callback, name, ""):
                return str(getattr(callback, name))
    return ""
