"""A trained run behind HTTP: joined calls of the model, limits, and one line for each error."""

from innflow.serve.batching import Batcher, Busy
from innflow.serve.http import LOOPBACK, Limits, make_server
from innflow.serve.running import listen, run_server, served

__all__ = [
    "LOOPBACK",
    "Batcher",
    "Busy",
    "Limits",
    "listen",
    "make_server",
    "run_server",
    "served",
]
