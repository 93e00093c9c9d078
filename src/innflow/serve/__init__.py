"""A trained run behind HTTP: joined calls of the model, limits, and one line for each error."""

from innflow.serve.batching import Batcher, Busy
from innflow.serve.http import Limits, make_server

__all__ = ["Batcher", "Busy", "Limits", "make_server"]
