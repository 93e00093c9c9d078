"""Lightning callbacks and loggers."""

from innflow.callback.clock import Clock
from innflow.callback.guard import Guard
from innflow.callback.metrics_csv import MetricsCSV
from innflow.callback.overfit import DropoutOnOverfit

__all__ = ["Clock", "DropoutOnOverfit", "Guard", "MetricsCSV"]
