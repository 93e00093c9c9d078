"""Which dashboard a Lightning logger writes to."""

from collections.abc import Iterable
from typing import Any

from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from innflow.dashboard.mlflow import MLflow
from innflow.dashboard.sink import Sink
from innflow.dashboard.tensorboard import TensorBoard
from innflow.dashboard.wandb import Wandb

SINKS: dict[type, Sink] = {
    WandbLogger: Wandb(),
    TensorBoardLogger: TensorBoard(),
    MLFlowLogger: MLflow(),
    object: Sink(),
}


def sink_of(logger: Any) -> Sink:
    """Return the sink of a logger or of a class of loggers."""
    kind = logger if isinstance(logger, type) else type(logger)
    return next(sink for known, sink in SINKS.items() if issubclass(kind, known))


def shows_pictures(loggers: Iterable[Logger]) -> bool:
    """Return whether one of the loggers can show figures.

    >>> shows_pictures([])
    False
    """
    return any(type(sink_of(logger)) is not Sink for logger in loggers)
