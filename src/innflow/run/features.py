"""The features of a finished run: the network and the fitted coordinates that embed pictures."""

from pathlib import Path

from innflow.analysis.data import build_data, trusted_data
from innflow.app import Unconditional
from innflow.config.message import one_line
from innflow.data import Embeddings
from innflow.data.base import PartsDataModule
from innflow.errors import InnflowError
from innflow.run.attached import files_of
from innflow.system.file.npz import DAMAGE, read_arrays

COORDINATES = "coordinates.npz"
"""File of a run folder with the state of its data module: the fitted coordinates of features."""
EMBEDDINGS = "innflow.data.Embeddings"


def restore_coordinates(data: PartsDataModule, folder: Path) -> bool:
    """Load a run's fitted coordinates into a data module; return whether the run has any.

    Raises:
        InnflowError: if the file is damaged, or of other data.
    """
    path = folder / COORDINATES
    if not path.is_file():
        return False
    try:
        data.load_state(read_arrays(path))
    except DAMAGE as error:
        raise InnflowError(f"{path}: damaged, or not of this run ({one_line(error)})") from None
    return True


def open_features(app: Unconditional, run: str, trust: bool) -> Embeddings:
    """Return the data module of a run on features, to embed pictures; it reads none of the run's.

    Raises:
        InnflowError: if the run has no coordinates, or its config names what is not trusted.
    """
    unread = {"root": None, "inliers": None, "labels": False}
    data = build_data(trusted_data({**app.config["data"], **unread}, app, run, trust))
    with files_of(run) as folder:
        if not isinstance(data, Embeddings) or not restore_coordinates(data, folder):
            raise InnflowError(
                f"run={run}: has no {COORDINATES}, the coordinates of its features; "
                "give the folder of a finished run"
            )
    return data
