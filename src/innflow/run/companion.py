"""Companions: frozen flows of finished runs, with which a model is compared."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from innflow.app import Application, Unconditional
from innflow.app.preprocess import LEVELS, Dequantization
from innflow.errors import InnflowError
from innflow.run.attached import attach_files
from innflow.run.checkpoint import find_checkpoint, load_weights, read_checkpoint
from innflow.run.features import COORDINATES
from innflow.run.load import COMPANIONS, load
from innflow.system.file.atomic import writing


def open_companions(sources: Any, app: Application) -> Mapping[str, Application]:
    """Load the companions of an application: name -> run folder, checkpoint or null.

    Raises:
        InnflowError: naming the key, if one is missing or is a model of other data.
    """
    if not isinstance(sources, Mapping):
        raise InnflowError(
            f"companions={sources}: must be names and folders of runs, {{name: DIR}}"
        )
    opened = {}
    for name, source in sources.items():
        if source is None:
            continue
        key = f"companions.{name}={source}"
        if not isinstance(source, str) or not str(name).isidentifier():
            raise InnflowError(f"{key}: must be a name of letters and the folder of a run")
        with _named(f"companions.{name}"):
            companion = load(source)
        if not isinstance(companion, Unconditional) or not isinstance(app, Unconditional):
            raise InnflowError(
                f"{key}: only densities of x can be compared, and this companion or the "
                "application has a density of x given data"
            )
        same = companion.log_volume == app.log_volume
        same = same and companion.partition.left == app.partition.left
        if not same and not (companion.features is not None and _has_pictures(app)):
            raise InnflowError(
                f"{key}: is a model of {companion.partition}, not of data like {app.partition}; "
                f"companions.{name}=null leaves it out"
            )
        opened[str(name)] = companion
    return opened


def _has_pictures(app: Unconditional) -> bool:
    """Return whether the data are images of 8 bits, which a companion on features can embed."""
    return isinstance(app.preprocessing, Dequantization) and app.preprocessing.levels == LEVELS


def keep_companions(sources: Mapping[str, str | None], run_dir: Path) -> None:
    """Copy the weights and configs of companions to a run folder, which is then self-contained."""
    folder = run_dir / COMPANIONS
    for name, source in sources.items():
        if source is None:
            continue
        folder.mkdir(exist_ok=True)
        with writing(folder / f"{name}.ckpt") as copy:
            torch.save(attach_files(source, [COORDINATES]), copy)


def start_from(source: Any, app: Application) -> None:
    """Load the weights of a finished run of the same model, those of ActNorm layers included.

    Raises:
        InnflowError: if there is no such run, or it is of another model.
    """
    if not isinstance(source, str):
        raise InnflowError(f"init={source}: must be the folder of a run, or null")
    with _named("init"):
        checkpoint = read_checkpoint(find_checkpoint(source))
    fault = (
        f"init={source}: its model differs from this one, {app.flow!r}; give the model and "
        "latent keys of that run, or init=null"
    )
    load_weights(app, checkpoint, fault)


@contextmanager
def _named(key: str) -> Iterator[None]:
    """Prefix the message of an error with a key."""
    try:
        yield
    except InnflowError as error:
        raise InnflowError(f"{key}: {error}") from None
