"""Small files of a run folder inside of a checkpoint that leaves the folder."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from innflow.run.checkpoint import find_checkpoint, read_checkpoint
from innflow.run.pretrained import FILES


def attach_files(run: str | Path, names: Sequence[str]) -> dict[str, Any]:
    """Return the weights and config of a run's checkpoint, with those of the files that exist.

    Args:
        run: a run folder, a checkpoint or `pretrained:NAME`.
        names: of files in the run folder.
    """
    checkpoint = read_checkpoint(find_checkpoint(run))
    kept = {key: checkpoint[key] for key in ("state_dict", "innflow")}
    files = {}
    with files_of(run, checkpoint) as folder:
        for name in names:
            if (folder / name).is_file():
                content = (folder / name).read_bytes()
                files[name] = torch.from_numpy(np.frombuffer(content, np.uint8).copy())
    return {**kept, FILES: files} if files else kept


@contextmanager
def files_of(run: str | Path, checkpoint: Mapping[str, Any] | None = None) -> Iterator[Path]:
    """Yield the folder with the files of a run: its own, or a temporary one of those attached."""
    if Path(run).is_dir():
        yield Path(run)
        return
    found = read_checkpoint(find_checkpoint(run)) if checkpoint is None else checkpoint
    with TemporaryDirectory() as folder:
        for name, content in found.get(FILES, {}).items():
            (Path(folder) / name).write_bytes(content.numpy().tobytes())
        yield Path(folder)
