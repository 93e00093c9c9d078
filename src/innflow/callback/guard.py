"""Detection of losses and gradients that are not finite."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from innflow.errors import InnflowError
from innflow.system.progress import is_leader


@dataclass
class _Flag:
    """A finiteness check whose result is copied to the CPU asynchronously."""

    value: Tensor  # whether a quantity is finite, on all ranks
    step: int  # at which it was computed
    name: str  # of the quantity
    event: Any  # after which the copy is complete; None on a CPU

    @classmethod
    def send(cls, finite: Tensor, step: int, name: str) -> _Flag:
        """Combine a boolean over the ranks, so that all stop at one step, and start its copy."""
        if dist.is_initialized():
            finite = finite.int()
            dist.all_reduce(finite, dist.ReduceOp.MIN)
        if finite.device.type == "cpu":
            return cls(finite, step, name, None)
        value = finite.to("cpu", non_blocking=True)
        event = torch.get_device_module(finite.device).Event()
        event.record()
        return cls(value, step, name, event)

    def wait(self) -> bool:
        """Wait for the value and return it."""
        if self.event is not None:
            self.event.synchronize()
        return bool(self.value)


class Guard(Callback):
    """Stop training when a loss, a gradient or a validation metric is not finite.

    On a CPU training stops before the weights are changed. On an accelerator the result of the
    check is read some steps later, so that no step waits for the device, and always before a
    validation or a checkpoint: no checkpoint holds weights that are not finite. Steps are never
    skipped, as an infinite loss indicates an error.

    Raises:
        InnflowError: with the step, the terms that are not finite and the last good checkpoint.

    >>> trainer = Trainer(callbacks=[Guard()], logger=False, enable_checkpointing=False)
    >>> any(isinstance(callback, Guard) for callback in trainer.callbacks)
    True
    """

    def __init__(self) -> None:
        self._pending: deque[_Flag] = deque()

    def on_before_backward(
        self, trainer: Trainer, pl_module: LightningModule, loss: Tensor
    ) -> None:
        """Check the loss."""
        self._check(trainer, "the loss", torch.isfinite(loss))

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Check the gradients before they are clipped: an infinite norm would give NaN weights."""
        gradients = [_to_local(p.grad) for p in pl_module.parameters() if p.grad is not None]
        if gradients:
            norm = torch.nn.utils.get_total_norm(gradients)
            self._check(trainer, "a gradient", torch.isfinite(norm))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for all checks."""
        self._read(trainer, wait=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for all checks."""
        self._read(trainer, wait=True)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Wait for all checks before a checkpoint is written."""
        self._read(trainer, wait=True)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the validation metrics before a checkpoint is saved as the best."""
        finite = all(torch.isfinite(value) for value in trainer.callback_metrics.values())
        flag = torch.tensor(finite, device=pl_module.device)
        if not _Flag.send(flag, trainer.global_step, "").wait():
            self._stop(trainer, "val/", "the loss", trainer.global_step)

    def _check(self, trainer: Trainer, name: str, finite: Tensor) -> None:
        self._pending.append(_Flag.send(finite, trainer.global_step, name))
        self._read(trainer)

    def _read(self, trainer: Trainer, wait: bool = False) -> None:
        """Read the flags that have arrived; with `wait` all of them."""
        while self._pending and (wait or self._is_due(trainer)):
            flag = self._pending.popleft()
            if not flag.wait():
                self._stop(trainer, "train/", flag.name, flag.step)

    def _is_due(self, trainer: Trainer) -> bool:
        """Return whether the first flag can be read without waiting."""
        first = self._pending[0]
        if first.event is None or trainer.world_size == 1:
            return first.event is None or first.event.query()
        return first.step < trainer.global_step  # the same on all ranks, which stop together

    @staticmethod
    def _stop(trainer: Trainer, stage: str, name: str, step: int) -> None:
        terms = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith(stage) and not torch.isfinite(value)
        }
        if dist.is_initialized():
            gathered: list[dict[str, float]] = [{}] * trainer.world_size
            dist.all_gather_object(gathered, terms)
            terms = {name: value for each in gathered[::-1] for name, value in each.items()}
        if not is_leader():
            # Other ranks exit silently: an exception there would end rank 0 before its message.
            raise SystemExit(0)
        named = ", ".join(f"{term}={value}" for term, value in terms.items()) or name
        raise InnflowError(
            f"training stopped at step {step}: {named} is not finite; last good "
            f"checkpoint: {_find_checkpoint(trainer) or 'none yet'}. Try a smaller optimizer.lr, "
            "or a smaller trainer.gradient_clip_val"
        )


def _to_local(gradient: Tensor) -> Tensor:
    """Return the part of a sharded gradient that is on this rank; else the gradient."""
    local: Tensor = gradient.to_local() if hasattr(gradient, "to_local") else gradient
    return local


def _find_checkpoint(trainer: Trainer) -> str:
    """Return the path of the newest checkpoint that a run has saved, empty if there is none."""
    names, callbacks = ("last_model_path", "best_model_path"), trainer.checkpoint_callbacks
    paths = (getattr(callback, name, "") for name in names for callback in callbacks)
    return str(next(filter(None, paths), ""))
