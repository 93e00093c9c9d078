"""Strategies of distributed training: processes, ranks and sharded parameters."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from innflow.system.explain import explain
from innflow.system.file.record import read_json

GRACE = 30.0
"""Seconds after the failure of one process before the others are terminated."""
WHOLE = ("MovingAverage", "DropoutOnOverfit", "FindLearningRate", "FindBatchSize")
"""Callbacks that need the weights of the whole model on every device."""
_OF_A_RANK = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Sharded(ModelParallelStrategy):
    """FSDP: weights, gradients and optimizer state sharded over the ranks.

    A checkpoint is one file with the keys of every other strategy.
    """

    def __init__(self) -> None:
        super().__init__(save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Shard over all ranks, without tensor parallelism."""
        self._data_parallel_size, self._tensor_parallel_size = self.world_size, 1
        super().setup_environment()

    def setup(self, trainer: pl.Trainer) -> None:
        """Set up without `configure_model`: the model is sharded here."""
        super(ModelParallelStrategy, self).setup(trainer)

    def _setup_model(self, model: nn.Module) -> nn.Module:
        shard(model, self.device_mesh["data_parallel"])
        return model


def make_strategy(name: Any) -> Any:
    """Translate a config's strategy to Lightning's; other names pass through unchanged."""
    if name == "ddp_spawn":
        return "ddp"  # its processes are started by `spawn`
    return Sharded() if name == "fsdp" else name


def environment(name: Any) -> list[LightningEnvironment]:
    """Return the cluster environments to pass to Lightning; an empty list lets it detect one."""
    # Processes that are started here within a Slurm job are not Slurm tasks.
    return [LightningEnvironment()] if name == "ddp_spawn" else []


def check_strategy(config: Mapping[str, Any]) -> None:
    """Refuse a strategy that does not fit the other keys of a config."""
    name = config["trainer"]["strategy"]
    if name == "ddp_spawn" and config["trainer"]["num_nodes"] != 1:
        raise InnflowError(
            "strategy=ddp_spawn: starts processes on one machine, trainer.num_nodes="
            f"{config['trainer']['num_nodes']}; use strategy=ddp, or hydra/launcher=slurm"
        )
    if name != "fsdp":
        return
    for switch in ("compile", "reversible"):
        if config[switch]:
            raise InnflowError(
                f"{switch}=true with strategy=fsdp: its passes would need parameters of other "
                "devices; choose one of the two, or strategy=ddp"
            )
    for key, node in config["callbacks"].items():
        if node is not None and str(node.get("_target_")).rpartition(".")[2] in WHOLE:
            raise InnflowError(
                f"callbacks.{key} with strategy=fsdp: it needs the whole model on every device; "
                f"use strategy=ddp, or callbacks.{key}=null"
            )


def check_devices(trainer: pl.Trainer, name: Any) -> None:
    """Refuse strategy=fsdp on a single device."""
    if name == "fsdp" and trainer.num_devices * trainer.num_nodes == 1:
        raise InnflowError(
            "strategy=fsdp with one device: the parameters cannot be divided; give "
            "trainer.devices=2 or more, or strategy=auto"
        )


def spawns(config: Mapping[str, Any]) -> bool:
    """Return whether this is the launching process of ddp_spawn, not a rank."""
    return config["trainer"]["strategy"] == "ddp_spawn" and "LOCAL_RANK" not in os.environ


def spawn(
    run: Callable[..., dict[str, float]],
    config: Mapping[str, Any],
    run_dir: Path,
    overrides: Sequence[str],
    sweep: str | None,
) -> dict[str, float]:
    """Do a run in new processes, one for each device, and return its metrics or raise its error.

    Each process builds all objects from the config.
    """
    sizes = {key: config["trainer"][key] for key in ("_target_", "accelerator", "devices")}
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    make = build({**sizes, **quiet, "_partial_": True}, "trainer")
    with refusals("trainer"):
        devices = make(strategy="ddp", plugins=[LightningEnvironment()]).num_devices
    where = {"WORLD_SIZE": str(devices), "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    where["MASTER_PORT"] = str(LightningEnvironment().main_port)
    arguments = (where, run, config, run_dir, list(overrides), sweep)
    context = start_processes(_run_rank, arguments, devices, join=False, start_method="spawn")
    try:
        while not context.join(grace_period=GRACE):
            pass
    except ProcessRaisedException as error:
        found = re.search(r"^innflow\.errors\.InnflowError: (.+)$", str(error), re.MULTILINE)
        if found is None:
            raise
        raise InnflowError(found[1]) from None
    metrics: dict[str, float] = read_json(run_dir / "metrics.json", {})
    return metrics


def _run_rank(
    index: int, where: Mapping[str, str], run: Callable[..., Any], *arguments: Any
) -> None:
    """Set the environment of one rank and do the run in this process."""
    os.environ |= {**where, "LOCAL_RANK": str(index)}
    leader: Any = rank_zero_only
    leader.rank = index  # Lightning has read it at import
    try:
        run(*arguments)
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        raise InnflowError(line) from error  # only its text reaches the launching process


@contextmanager
def restored_rank() -> Iterator[None]:
    """Restore at the end the environment variables that Lightning sets in the process of a rank.

    A later run of the same process would otherwise wait for the other ranks of this one.
    """
    before = {name: os.environ.get(name) for name in _OF_A_RANK}
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def leave_group() -> None:
    """Leave the process group; no collective operation may follow."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
