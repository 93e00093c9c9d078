"""What can be sent to a dashboard, and what each kind of dashboard has to offer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from innflow.dashboard import mlflow, tensorboard, wandb
from innflow.dashboard.naming import Names


class Picture(NamedTuple):
    """A PNG file's bytes and the sentence under it."""

    png: bytes
    caption: str = ""


class Sheet(NamedTuple):
    """Rows of text and numbers under named columns."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


class Sink(Protocol):
    """The functions of a module that stands for one kind of dashboard."""

    def prepare(
        self, node: Mapping[str, Any], memory: Mapping[str, Any], names: Names, path: str
    ) -> dict[str, Any]:
        """Return the config to build the logger from; `memory` is of the run begun earlier."""

    def begin(self, logger: Any, path: str) -> dict[str, Any]:
        """Open the run on the dashboard; return by what to find it again."""

    def configure(self, logger: Any, config: Mapping[str, Any], again: bool) -> None:
        """Send the hyperparameters; again, if the run has been resumed."""

    def send(
        self,
        logger: Any,
        figures: Mapping[str, Picture],
        tables: Mapping[str, Sheet],
        step: int,
        last: bool,
    ) -> None:
        """Send figures and tables; `last` says that the run is over and nothing replaces them."""

    def conclude(self, logger: Any, metrics: Mapping[str, float], step: int) -> None:
        """Send the numbers of the finished run."""


SINKS: dict[type[Logger], Sink] = {
    WandbLogger: wandb,
    TensorBoardLogger: tensorboard,
    MLFlowLogger: mlflow,
}


def sink_of(logger: Any) -> Sink | None:
    """Return what serves a logger or a class of loggers; None for kinds that get numbers only."""
    kind = logger if isinstance(logger, type) else type(logger)
    return next((sink for known, sink in SINKS.items() if issubclass(kind, known)), None)


def shows_pictures(loggers: Iterable[Logger]) -> bool:
    """Return whether one of the loggers can show more than numbers."""
    return any(sink_of(logger) is not None for logger in loggers)
