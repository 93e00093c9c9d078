"""How a run is spread over devices: which processes there are, and what each of them holds."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch.distributed as dist
from lightning_fabric.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import ModelParallelStrategy
from pytorch_lightning.utilities import rank_zero_only
from torch import nn
from torch.multiprocessing import ProcessRaisedException, start_processes

from innflow.app.sharding import shard
from innflow.config.build import build, refusals
from innflow.errors import InnflowError

GRACE = 30.0
"""Seconds in which the other processes may end by themselves after one has failed."""
WHOLE = ("MovingAverage", "DropoutOnOverfit", "FindLearningRate", "FindBatchSize")
"""Callbacks that copy, save or load the weights of a whole model."""


class Sharded(ModelParallelStrategy):
    """FSDP: weights, gradients and optimizer state in shares, checkpoints whole in one file.

    A checkpoint has the keys of every other strategy's, and loads without this one.
    """

    def __init__(self) -> None:
        super().__init__(save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Let all ranks share the parameters and none the computation."""
        self._data_parallel_size, self._tensor_parallel_size = self.world_size, 1
        super().setup_environment()

    def setup(self, trainer: pl.Trainer) -> None:
        """Set up as a strategy that wraps the model: it is divided here, not by the model."""
        super(ModelParallelStrategy, self).setup(trainer)

    def _setup_model(self, model: nn.Module) -> nn.Module:
        shard(model, self.device_mesh["data_parallel"])
        return model


def make_strategy(name: Any) -> Any:
    """Return what Lightning takes for the strategy of a config; names of its own pass through."""
    if name == "ddp_spawn":
        return "ddp"  # its processes are there
    return Sharded() if name == "fsdp" else name


def environment(name: Any) -> list[LightningEnvironment]:
    """Return where Lightning looks for the ranks, unless it finds that out by itself."""
    # Within a job of Slurm, processes started here are no tasks of it.
    return [LightningEnvironment()] if name == "ddp_spawn" else []


def check_strategy(config: Mapping[str, Any]) -> None:
    """Raise unless the strategy fits what else a config asks for."""
    name = config["trainer"]["strategy"]
    if name == "ddp_spawn" and config["trainer"]["num_nodes"] != 1:
        raise InnflowError(
            "strategy=ddp_spawn: starts processes on one machine, trainer.num_nodes="
            f"{config['trainer']['num_nodes']}; takes strategy=ddp, or hydra/launcher=slurm"
        )
    if name != "fsdp":
        return
    for switch in ("compile", "reversible"):
        if config[switch]:
            raise InnflowError(
                f"{switch}=true with strategy=fsdp: a pass would read parameters that lie on other "
                "devices; choose one of them, or strategy=ddp"
            )
    for key, node in config["callbacks"].items():
        if node is not None and str(node.get("_target_")).rpartition(".")[2] in WHOLE:
            raise InnflowError(
                f"callbacks.{key} with strategy=fsdp: it needs the whole model on every device; "
                f"takes strategy=ddp, or callbacks.{key}=null"
            )


def check_devices(trainer: pl.Trainer, name: Any) -> None:
    """Raise unless there are devices among which parameters can be divided."""
    if name == "fsdp" and trainer.num_devices * trainer.num_nodes == 1:
        raise InnflowError(
            "strategy=fsdp with one device: there is nobody to share the parameters with; takes "
            "trainer.devices=2 or more, or strategy=auto"
        )


def spawns(config: Mapping[str, Any]) -> bool:
    """Return whether this process is to start those of a run, and not one of them."""
    return config["trainer"]["strategy"] == "ddp_spawn" and "LOCAL_RANK" not in os.environ


def spawn(
    run: Callable[..., dict[str, float]],
    config: Mapping[str, Any],
    run_dir: Path,
    overrides: Sequence[str],
    sweep: str | None,
) -> dict[str, float]:
    """Do a run in processes of its own, one for each device, and return its metrics.

    Each builds everything from the config: nothing that lives here, be it a data set, a logger or
    an open file, has to be sent there and back.

    Raises:
        InnflowError: what any of them raises.
    """
    sizes = {key: config["trainer"][key] for key in ("_target_", "accelerator", "devices")}
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    make = build({**sizes, **quiet, "_partial_": True}, "trainer")
    with refusals("trainer"):
        devices = make(strategy="ddp", plugins=[LightningEnvironment()]).num_devices
    port = str(LightningEnvironment().main_port)
    where = {"WORLD_SIZE": str(devices), "NODE_RANK": "0", "MASTER_PORT": port}
    where["MASTER_ADDR"] = "127.0.0.1"
    given = (where, run, config, run_dir, list(overrides), sweep)
    context = start_processes(_rank, given, devices, join=False, start_method="spawn")
    _let_end(context.processes)
    try:
        while not context.join():
            pass
    except ProcessRaisedException as error:
        said = re.search(r"^innflow\.errors\.InnflowError: (.+)$", str(error), re.MULTILINE)
        if said is None:
            raise
        raise InnflowError(said[1]) from None
    metrics: dict[str, float] = json.loads((run_dir / "metrics.json").read_text())
    return metrics


def _rank(index: int, where: Mapping[str, str], run: Callable[..., Any], *given: Any) -> None:
    """Be one process of a run."""
    os.environ |= {**where, "LOCAL_RANK": str(index)}
    leader: Any = rank_zero_only
    leader.rank = index  # it was looked for when Lightning was imported
    run(*given)


def _let_end(processes: Sequence[Any]) -> None:
    """Wait for all; once one has failed, only as long as the others take to tidy up."""
    alive = {process.sentinel: process for process in processes}
    while alive:
        ended = [alive.pop(sentinel) for sentinel in wait(list(alive))]
        for process in ended:
            process.join()
        if any(process.exitcode for process in ended):
            break
    for process in alive.values():
        process.join(GRACE)


def leave_group() -> None:
    """End the work with the other ranks: from here on each is alone, and none waits for another."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
