"""Atomic writing of checkpoints."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from innflow.errors import InnflowError
from innflow.system.file.atomic import writing


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's `TorchCheckpointIO` with atomic writes.

    >>> from tempfile import mkdtemp
    >>> path = Path(mkdtemp()) / "last.ckpt"
    >>> AtomicCheckpointIO().save_checkpoint({"global_step": 3}, path)
    >>> torch.load(path, weights_only=True)
    {'global_step': 3}
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint; on failure the previous file is kept.

        Raises:
            InnflowError: if the disk is full, or cannot be written.
        """
        path = Path(path)
        try:
            path.parent.mkdir(exist_ok=True)  # not the run folder, which may have been removed
            with writing(path, "wb") as file:
                torch.save(checkpoint, file)
        except (OSError, RuntimeError) as error:
            reason = _find_reason(error)
            if reason is None:
                raise
            kept = "the previous one is kept" if path.exists() else "there is no previous one"
            kept = kept if path.parent.parent.is_dir() else "the run folder was removed"
            raise InnflowError(f"{path}: cannot be written ({reason}); {kept}") from None


def _find_reason(error: BaseException | None) -> str | None:
    """Return the message of the OSError from which an error of `torch.save` arose."""
    while error is not None:
        if isinstance(error, OSError):
            return error.strerror or str(error)
        error = error.__cause__ or error.__context__
    return None
