"""Lightning callbacks, the CSV logger and the checkpoint plugin of a run."""

from innflow.callback.average import MovingAverage
from innflow.callback.checkpoint_io import AtomicCheckpointIO
from innflow.callback.clock import Clock
from innflow.callback.find import FindBatchSize, FindLearningRate
from innflow.callback.guard import Guard
from innflow.callback.last_checkpoint import LastCheckpoint
from innflow.callback.metrics_csv import MetricsCSV
from innflow.callback.overfit import DropoutOnOverfit
from innflow.callback.pictures import Pictures
from innflow.callback.progress_bar import Progress
from innflow.callback.rank_watch import RankWatch
from innflow.callback.requeue import Requeue

__all__ = [
    "AtomicCheckpointIO",
    "Clock",
    "DropoutOnOverfit",
    "FindBatchSize",
    "FindLearningRate",
    "Guard",
    "LastCheckpoint",
    "MetricsCSV",
    "MovingAverage",
    "Pictures",
    "Progress",
    "RankWatch",
    "Requeue",
]
