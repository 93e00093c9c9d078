"""Runs on two ranks: a callback that notes what each rank has, and two processes for many runs.

The two are copies of this process, which start without importing everything again, and do all the
runs of a file of tests one after the other.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import find_free_network_port
from pytorch_lightning.utilities import rank_zero_only
from tiny import train

from innflow.errors import InnflowError
from innflow.run.strategy import leave_group

NOTE = ("+callbacks.note._target_=ranks.Note", "++callbacks.note.dirpath=${run_dir}")
TWO = ("trainer.accelerator=cpu", "trainer.devices=2", "++trainer.enable_progress_bar=false")


class Note(pl.Callback):
    """Writes rank0.pt and rank1.pt: weights, items that were validated, ActNorm's start, answers.

    Args:
        dirpath: where to.
        poison: rank whose loss is not a number in its third step; none by default.
        ask: whether to ask the application questions while it is being trained.
    """

    def __init__(self, dirpath: str, poison: int | None = None, ask: bool = False) -> None:
        self.dirpath, self.poison, self.ask = Path(dirpath), poison, ask
        self.seen: list[torch.Tensor] = []
        self.start: dict[str, torch.Tensor] = {}
        self.answers: dict[str, torch.Tensor] = {}

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note what ActNorm begins with; spoil the third batch of one rank."""
        if trainer.global_step == 0:
            self.start = {
                name: whole(value).clone()
                for name, value in pl_module.named_parameters()
                if "log_scale" in name
            }
        if trainer.global_step == 2 and trainer.global_rank == self.poison:
            batch["x"].fill_(float("nan"))

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, *rest: Any
    ) -> None:
        """Note the items."""
        self.seen.append(batch["x"].clone())

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Begin the list again; ask."""
        self.seen = []
        if self.ask:
            x = torch.linspace(-1, 1, 8).reshape(4, 2)
            drawn = pl_module.sample(4, seed=0)  # first: nothing has gathered parameters yet
            z = pl_module.encode(x)
            self.answers = {
                "sample": drawn,
                "log_prob": pl_module.log_prob(x),
                "back": pl_module.decode(z) - x,
                "z": z,
            }

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write the file."""
        noted = {
            "weights": {
                name: whole(value)
                for name, value in pl_module.state_dict().items()
                if isinstance(value, torch.Tensor)
            },
            "start": self.start,
            "seen": torch.cat(self.seen),
            "answers": self.answers,
            "kinds": sorted({type(each).__name__ for each in pl_module.parameters()}),
            "sizes": sum(own(each).numel() for each in pl_module.parameters()),
            "metrics": {name: float(value) for name, value in trainer.callback_metrics.items()},
            "rates": [layer.p for layer in pl_module.modules() if hasattr(layer, "p")],
        }
        torch.save(noted, self.dirpath / f"rank{trainer.global_rank}.pt")


def whole(value: torch.Tensor) -> torch.Tensor:
    """Return a tensor that may be divided among ranks."""
    full: torch.Tensor = value.full_tensor() if hasattr(value, "full_tensor") else value
    return full.detach()


def own(value: torch.Tensor) -> torch.Tensor:
    """Return the share of this rank."""
    share: torch.Tensor = value.to_local() if hasattr(value, "to_local") else value
    return share


def noted(run_dir: Path, rank: int) -> dict[str, Any]:
    """Return what a rank wrote."""
    found: dict[str, Any] = torch.load(run_dir / f"rank{rank}.pt", weights_only=True)
    return found


def difference(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> float:
    """Return the largest difference between weights of the same names."""
    assert one.keys() == other.keys()
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in one)


def on_two_ranks(folder: Path, jobs: Sequence[tuple[Path, Sequence[str]]]) -> list[list[Any]]:
    """Do runs one after the other on two ranks; return what the two say of each.

    That is its metrics, the line of its error, or the number it wanted to exit with.

    Args:
        folder: for files in between.
        jobs: folder and overrides of each run.
    """
    # A port for each: the faster rank would meet the other still at the one before.
    planned = [(path, given, str(find_free_network_port())) for path, given in jobs]
    # A copy of a process that has used CUDA cannot use autograd.
    context = multiprocessing.get_context("spawn" if torch.cuda.is_available() else "fork")
    processes = [context.Process(target=be_rank, args=(r, planned, folder)) for r in (0, 1)]
    for process in processes:
        process.start()
    try:
        for process in processes:
            process.join(300)
        assert [process.exitcode for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
    said = [json.loads((folder / f"said{rank}.json").read_text()) for rank in (0, 1)]
    return [list(pair) for pair in zip(*said, strict=True)]


def be_rank(rank: int, jobs: Sequence[tuple[Path, Sequence[str], str]], folder: Path) -> None:
    """Do the runs of one rank, and write what it says of them."""
    os.environ |= {"WORLD_SIZE": "2", "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    os.environ |= {"LOCAL_RANK": str(rank), "INNFLOW_CACHE": str(folder)}
    rank_zero_only.rank = rank  # Lightning has read it at import
    said: list[Any] = []
    for run_dir, overrides, port in jobs:
        os.environ["MASTER_PORT"] = port
        try:
            said.append(train(run_dir, *overrides))
        except InnflowError as error:
            said.append(str(error))
        except SystemExit as error:
            said.append(error.code)
        leave_group()
    (folder / f"said{rank}.json").write_text(json.dumps(said))


def run_command(run_dir: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Call innflow-train as a user does, from an empty folder."""
    run_dir.parent.mkdir(exist_ok=True)
    return subprocess.run(
        [Path(sys.executable).with_name("innflow-train"), *overrides, f"run_dir={run_dir}"],
        cwd=run_dir.parent,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        timeout=300,
    )
