"""Trained flows that come with innflow, to start from and to compare with.

    app = innflow.pretrained.load("general32")
    innflow.pretrained.card("general32")["licence"]

Each is a file of weights (safetensors) with a card (JSON) in the same folder. The commands take
them as `pretrained:NAME`. They are made by `experiments/pretrained`.
"""

from innflow.app import Application
from innflow.config.places import PRETRAINED
from innflow.run.load import load as load_run
from innflow.run.pretrained import card, names

__all__ = ["card", "load", "names"]


def load(name: str) -> Application:
    """Return a pretrained flow as an application, as `innflow.load` returns it.

    Raises:
        InnflowError: if there is no flow of this name, or its file is damaged.

    >>> load("digits8").shape
    (1, 8, 8)
    """
    return load_run(f"{PRETRAINED}{name}")
