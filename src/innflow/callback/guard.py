"""Stop a run on a loss that is not finite, before it reaches the weights."""

from __future__ import annotations

import pytorch_lightning as pl
import torch
from torch import Tensor

from innflow.errors import InnflowError


class Guard(pl.Callback):
    """Check the loss before every backward pass, and the likelihood of held-out data.

    The weights and the checkpoints are still those of the last good step then. Nothing is skipped
    or averaged away: a flow whose loss was infinite once has a reason, which more steps hide.

    Raises:
        InnflowError: with the step, the terms that are not finite and the last good checkpoint.
    """

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: Tensor
    ) -> None:
        """Raise where the loss is not finite."""
        if not bool(torch.isfinite(loss)):
            self._stop(trainer, "train/")

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Raise where a gradient is not finite: clipping by an infinite norm gives NaN weights."""
        gradients = [p.grad for p in pl_module.parameters() if p.grad is not None]
        norms = torch._foreach_norm(gradients)
        if gradients and not bool(torch.stack(norms).isfinite().all()):
            self._stop(trainer, "train/", what="a gradient")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Raise where a validation metric is not finite, before it is saved as the best."""
        if not all(bool(torch.isfinite(v)) for v in trainer.callback_metrics.values()):
            self._stop(trainer, "val/")

    @staticmethod
    def _stop(trainer: pl.Trainer, stage: str, what: str = "the loss") -> None:
        terms = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith(stage) and not bool(torch.isfinite(value))
        }
        named = ", ".join(f"{name}={value}" for name, value in terms.items()) or what
        raise InnflowError(
            f"training stopped at step {trainer.global_step}: {named} is not finite; last good "
            f"checkpoint: {last_checkpoint(trainer) or 'none yet'}. Try a smaller optimizer.lr, "
            "or a smaller trainer.gradient_clip_val"
        )


def last_checkpoint(trainer: pl.Trainer) -> str:
    """Return the path of the newest checkpoint that a run has saved, or nothing."""
    for callback in trainer.checkpoint_callbacks:
        path = getattr(callback, "last_model_path", "") or getattr(callback, "best_model_path", "")
        if path:
            return str(path)
    return ""
