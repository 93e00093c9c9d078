"""Interface of the dashboards, and the figures and tables that are sent to them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from innflow.dashboard import mlflow, tensorboard, wandb
from innflow.dashboard.naming import Names


class Picture(NamedTuple):
    """The bytes of a PNG file and a caption.

    >>> Picture(b"...", "Samples").caption
    'Samples'
    """

    png: bytes
    caption: str = ""


class Sheet(NamedTuple):
    """A table: rows of text and numbers under named columns.

    >>> Sheet(["path", "score"], [["a.png", 3.5]]).columns
    ['path', 'score']
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


class Sink(Protocol):
    """Functions that the module of each kind of dashboard defines."""

    def prepare(
        self, node: Mapping[str, Any], earlier: Mapping[str, Any], names: Names, path: str
    ) -> dict[str, Any]:
        """Return the arguments of the logger; `earlier` is what `begin` returned last time."""

    def begin(self, logger: Any, path: str) -> dict[str, Any]:
        """Open the run on the dashboard, and return its identity there."""

    def configure(self, logger: Any, config: Mapping[str, Any], resumed: bool) -> None:
        """Send the hyperparameters."""

    def send(
        self,
        logger: Any,
        figures: Mapping[str, Picture],
        tables: Mapping[str, Sheet],
        step: int,
        final: bool,
    ) -> None:
        """Send figures and tables, the final ones after the run."""

    def conclude(self, logger: Any, metrics: Mapping[str, float], step: int) -> None:
        """Send the final metrics."""


SINKS: dict[type[Logger], Sink] = {
    WandbLogger: wandb,
    TensorBoardLogger: tensorboard,
    MLFlowLogger: mlflow,
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
