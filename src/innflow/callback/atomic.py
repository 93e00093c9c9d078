"""Checkpoints that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from innflow.errors import InnflowError
from innflow.system.atomic import writing


class AtomicCheckpointIO(TorchCheckpointIO):
    """Write Lightning's checkpoints aside and rename them, so that none is ever half-written."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint whole or not at all.

        Raises:
            InnflowError: if the disk is full, or cannot be written.
        """
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with writing(path) as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            reason = _reason(error)
            if reason is None:
                raise
            kept = "the one before is kept" if path.exists() else "there is none before it"
            raise InnflowError(f"{path}: cannot be written ({reason}); {kept}") from None


def _reason(error: BaseException) -> str | None:
    """Return what the system says: torch has its own error after that of the file it writes to."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            return seen.strerror or str(seen)
        seen = seen.__cause__ or seen.__context__
    return None
