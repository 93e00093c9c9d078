"""Which dashboard a Lightning logger writes to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from innflow.dashboard.mlflow import MLflow
from innflow.dashboard.sink import Sink
from innflow.dashboard.tensorboard import TensorBoard
from innflow.dashboard.wandb import Wandb

SINKS: dict[type[Logger], Sink] = {
    WandbLogger: Wandb(),
    TensorBoardLogger: TensorBoard(),
    MLFlowLogger: MLflow(),
}


def sink_of(logger: Any) -> Sink | None:
    """Return the sink of a logger or a class of loggers, None for one that shows metrics only."""
    kind = logger if isinstance(logger, type) else type(logger)
    return next((sink for known, sink in SINKS.items() if issubclass(kind, known)), None)


def shows_pictures(loggers: Iterable[Logger]) -> bool:
    """Return whether one of the loggers can show figures.

    >>> shows_pictures([])
    False
    """
    return any(sink_of(logger) is not None for logger in loggers)
