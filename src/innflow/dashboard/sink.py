"""Interface of the dashboards, and the figures and tables that are sent to them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from innflow.dashboard.naming import Names
from innflow.system.secret import check_complete


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


Node = Mapping[str, Any]
Pictures = Mapping[str, Picture]
Sheets = Mapping[str, Sheet]


class Sink:
    """Base class of a dashboard on top of a Lightning logger; by itself it shows metrics only."""

    def prepare(self, node: Node, earlier: Node, names: Names, path: str) -> dict[str, Any]:
        """Return the arguments of the logger.

        Args:
            node: node of the logger in the config.
            earlier: what `begin` returned when the run began; empty for a new run.
            names: names of the run and its group.
            path: path of the node in the config, for error messages.
        """
        check_complete(node, path)
        return dict(node)

    def begin(self, logger: Any, path: str) -> dict[str, Any]:
        """Open the run on the dashboard, and return its identity there."""
        return {}

    def configure(self, logger: Any, config: Node, resumed: bool) -> None:
        """Send the hyperparameters."""
        logger.log_hyperparams(dict(config))

    def send(self, logger: Any, figures: Pictures, tables: Sheets, step: int, final: bool) -> None:
        """Send figures and tables during training, or the final ones after it."""

    def conclude(self, logger: Any, metrics: Mapping[str, float], step: int) -> None:
        """Send the final metrics."""
        logger.log_metrics(dict(metrics), step)
