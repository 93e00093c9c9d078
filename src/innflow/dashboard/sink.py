"""Interface of the dashboards, and the figures and tables that are sent to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

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


class Sink:
    """One kind of dashboard, on top of its Lightning logger; subclasses define `send`."""

    def prepare(
        self, node: Mapping[str, Any], earlier: Mapping[str, Any], names: Names, path: str
    ) -> dict[str, Any]:
        """Return the arguments of the logger.

        Args:
            node: of the config.
            earlier: what `begin` returned when the run began; empty for a new run.
            names: of the run and its group.
            path: of the node in the config, for errors.
        """
        return dict(node)

    def begin(self, logger: Any, path: str) -> dict[str, Any]:
        """Open the run on the dashboard, and return its identity there."""
        return {}

    def configure(self, logger: Any, config: Mapping[str, Any], resumed: bool) -> None:
        """Send the hyperparameters."""
        logger.log_hyperparams(dict(config))

    def send(
        self,
        logger: Any,
        figures: Mapping[str, Picture],
        tables: Mapping[str, Sheet],
        step: int,
        final: bool,
    ) -> None:
        """Send figures and tables during training, or the final ones after it."""
        raise NotImplementedError

    def conclude(self, logger: Any, metrics: Mapping[str, float], step: int) -> None:
        """Send the final metrics."""
        logger.log_metrics(dict(metrics), step)
