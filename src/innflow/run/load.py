"""Applications built from a config, and loaded from checkpoints."""

import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch

from innflow.app import Application
from innflow.app.module import FORMAT
from innflow.config.build import build, refusals
from innflow.config.trust import check_resolved, check_trusted
from innflow.errors import InnflowError
from innflow.latent.density import Latent
from innflow.partition import Partition
from innflow.system.regular import why_not_regular

CHECKPOINTS = "checkpoints"
SCORES = "scores.npz"
"""File of a run folder with its fitted scores."""
COORDINATES = "coordinates.npz"
"""File of a run folder with the state of its data module: the fitted coordinates of features."""
MODEL = ("app", "model", "latent", "objective", "optimizer", "schedule", "score")
"""Nodes of a config from which an application is built."""
COMPANIONS = "companions"
"""Folder of a run with the checkpoints of its companions."""


def assemble(
    config: Mapping[str, Any],
    shapes: Mapping[str, Sequence[int]],
    columns: Mapping[str, Sequence[str]] | None = None,
) -> Application:
    """Build the application that a config describes.

    Args:
        config: plain dicts with the nodes app, partition, model, latent, objective, optimizer and
            schedule, and perhaps the switches compile and reversible.
        shapes: shape of every part of the data.
        columns: names of the features of vector parts, and of the classes under `label`.
    """
    partition = Partition.build(**config["partition"], shapes=shapes)
    make_flow, make_app = build(config["model"], "model"), build(config["app"], "app")
    with refusals("latent"):
        latent = Latent(build(config["latent"], "latent"))
    optimizer = build(config["optimizer"], "optimizer")
    with refusals("optimizer"):
        optimizer([torch.nn.Parameter(torch.zeros(1))])  # refuses bad values before training
    with refusals("model"):
        flow = make_flow(partition.shape, context=partition.context_features)
    flow.reversible = bool(config.get("reversible"))
    with refusals("app"):
        app: Application = make_app(
            flow=flow,
            partition=partition,
            latent=latent,
            objective=build(config["objective"], "objective"),
            optimizer=optimizer,
            schedule=build(config["schedule"], "schedule"),
        )
    app.compiled = bool(config.get("compile"))
    app.config = dict(config)
    app.shapes = {name: list(shape) for name, shape in shapes.items()}
    app.columns = {name: list(names) for name, names in (columns or {}).items()}
    return app


def find_checkpoint(run: str | Path, which: str = "best") -> Path:
    """Return the checkpoint best.ckpt or last.ckpt of a run folder; a file is returned as it is."""
    path = Path(run)
    if path.is_file():
        return path
    if which not in ("best", "last"):
        raise InnflowError(f"run={run}: ckpt={which} is unknown: must be best or last")
    if not path.is_dir():
        reason = why_not_regular(path)
        raise InnflowError(f"run={run}: {reason}; give the folder that innflow-train printed")
    for name in (which, "last"):
        if (path / CHECKPOINTS / f"{name}.ckpt").is_file():
            return path / CHECKPOINTS / f"{name}.ckpt"
    raise InnflowError(f"run={run}: no {CHECKPOINTS}/{which}.ckpt there; was the run trained?")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of innflow: tensors, plain dicts and lists only.

    Raises:
        InnflowError: if it is truncated, of another kind or version, or holds pickled objects.
    """
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InnflowError(
            f"{path}: refused, it holds more than tensors and plain dicts (or is damaged); "
            "checkpoints of innflow never do"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InnflowError(f"{path}: cannot be read, truncated or damaged ({reason})") from None
    own = checkpoint.get("innflow") if isinstance(checkpoint, dict) else None
    if not isinstance(own, dict) or "state_dict" not in checkpoint:
        raise InnflowError(f"{path}: is not a checkpoint of innflow")
    if own.get("format") != FORMAT:
        raise InnflowError(
            f"{path}: written by another version of innflow, in format {own.get('format')}; this "
            f"one reads format {FORMAT}: train the run again"
        )
    return checkpoint


def load_weights(app: Application, checkpoint: Mapping[str, Any], fault: str) -> None:
    """Load the weights of a checkpoint; if they do not fit, raise `fault` with the reason."""
    try:
        app.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise InnflowError(f"{fault}: {shorten(str(error), 200, placeholder=' ...')}") from None


def load(run: str | Path, which: str = "best", trust: bool = False) -> Application:
    """Return the trained application of a run folder or of a checkpoint file.

    Args:
        run: a run folder, or a `.ckpt` file by itself.
        which: `best` (by the validation set) or `last`.
        trust: also build classes of other packages than innflow, torch and torchvision. A file
            can then run any code: use it only for files of writers you trust.

    Raises:
        InnflowError: if there is no checkpoint, it is damaged or of another version, or it names
            classes that are not trusted.

    >>> app = load("outputs/moons/2026-01-31_12-00-00")  # doctest: +SKIP
    >>> app.log_prob(app.sample(64)).shape  # doctest: +SKIP
    torch.Size([64])
    """
    path = find_checkpoint(run, which)
    checkpoint = read_checkpoint(path)
    own = checkpoint["innflow"]
    config = own.get("config", {})
    missing = [name for name in (*MODEL, "partition") if name not in config]
    if missing:
        raise InnflowError(f"{path}: cannot be loaded, its config lacks {', '.join(missing)}")
    if not trust:
        check_resolved(config, str(path))  # also in nodes that a command may build later
        check_trusted({name: config[name] for name in MODEL}, str(path))
    app = assemble(config, own["shapes"], own.get("columns"))
    load_weights(app, checkpoint, f"{path}: its weights do not fit its own config")
    for file in sorted((Path(run) / COMPANIONS).glob("*.ckpt")):  # none for a checkpoint file
        app.companions[file.stem] = load(file, trust=trust)
    fitted = Path(run) / SCORES
    if fitted.is_file() and config["score"]:
        app.scorer = build(config["score"], "score").load(fitted)
    return app.eval()
