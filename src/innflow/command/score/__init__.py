"""`innflow-score`: scores, p-values and anomaly maps of new items."""

from innflow.command.score.command import score

__all__ = ["score"]
