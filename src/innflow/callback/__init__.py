"""Lightning callbacks and loggers."""

from innflow.callback.average import MovingAverage
from innflow.callback.clock import Clock
from innflow.callback.find import FindBatchSize, FindLearningRate
from innflow.callback.guard import Guard
from innflow.callback.metrics_csv import MetricsCSV
from innflow.callback.overfit import DropoutOnOverfit
from innflow.callback.progress import Progress

__all__ = [
    "Clock",
    "DropoutOnOverfit",
    "FindBatchSize",
    "FindLearningRate",
    "Guard",
    "MetricsCSV",
    "MovingAverage",
    "Progress",
]
