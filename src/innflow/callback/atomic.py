"""Checkpoints that are whole or not there, whatever happens while one is being written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from innflow.errors import InnflowError


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's way of writing checkpoints, by a second file that takes the place of the first.

    The new file is on the disk before its name is, so that a loss of power, too, leaves the old one
    or the new one. What a killed process leaves half-written, the next start removes.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | os.PathLike[str], storage_options: Any = None
    ) -> None:
        """Write a checkpoint whole or not at all.

        Raises:
            InnflowError: if the disk is full, or cannot be written.
        """
        path = Path(path)
        partial = path.with_name(f".{path.name}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
            _sync_folder(path.parent)
        except (OSError, RuntimeError) as error:
            reason = _reason(error)
            if reason is None:
                raise
            partial.unlink(missing_ok=True)
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


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
