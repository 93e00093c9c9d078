"""Applications built from a config, and loaded from checkpoints."""

from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import torch

from innflow.app import Application, Generation, Member, Unconditional
from innflow.config.build import build, refusals
from innflow.config.schema import check
from innflow.config.sizes import check_sizes, largest_size
from innflow.config.trust import check_resolved, check_trusted
from innflow.errors import InnflowError
from innflow.flow import Embedding
from innflow.flow.network.base import fix
from innflow.latent import Latent, PrincipalNormal
from innflow.partition import Partition
from innflow.run.attached import files_of
from innflow.run.checkpoint import find_checkpoint, load_weights, read_checkpoint, reading
from innflow.run.features import EMBEDDINGS, open_features
from innflow.run.folder import check_links
from innflow.system.memory import Allocations

SCORES = "scores.npz"
"""File of a run folder with its fitted scores."""
LATENTS = "latents.npz"
"""File of a run folder with the normal distribution fitted to the latents of training images."""
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
    with refusals("partition"):
        partition = Partition.build(**config["partition"], shapes=shapes)
    make_flow, make_app = build(config["model"], "model"), build(config["app"], "app")
    with refusals("latent"):
        latent = Latent(build(config["latent"], "latent"))
    optimizer = build(config["optimizer"], "optimizer")
    with refusals("optimizer"):
        optimizer([torch.nn.Parameter(torch.zeros(1))])  # refuses bad values before training
    members = [_make_member(config, partition, make_flow) for _ in range(_ensemble(config))]
    flow, embedding = members[0].flow, members[0].embedding
    given: dict[str, Any] = {} if embedding is None else {"embedding": embedding}
    given |= {"others": members[1:]} if members[1:] else {}
    with refusals("app"):
        app: Application = make_app(
            flow=flow,
            partition=partition,
            latent=latent,
            objective=build(config["objective"], "objective"),
            optimizer=optimizer,
            schedule=build(config["schedule"], "schedule"),
            **given,
        )
    if not isinstance(app, Application):
        raise InnflowError(f"app._target_={config['app']['_target_']}: is no application")
    app.compiled = bool(config.get("compile"))
    app.config = dict(config)
    app.shapes = {name: list(shape) for name, shape in shapes.items()}
    app.columns = {name: list(names) for name, names in (columns or {}).items()}
    return app


def _ensemble(config: Mapping[str, Any]) -> int:
    count = config.get("ensemble", 1)
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise InnflowError(f"ensemble={count}: must be a number of flows, at least 1")
    if count > 1 and "y" not in (config["partition"].get("context") or {}):
        raise InnflowError(f"ensemble={count}: needs partition=given_y; set ensemble=1")
    return count


def _make_member(config: Mapping[str, Any], partition: Partition, make_flow: Any) -> Member:
    """Return a flow and its embedding, newly initialised."""
    embedding = _make_embedding(config, partition)
    features = partition.context_features if embedding is None else embedding.features
    with refusals("model"), Allocations(largest_size(config, "model")):
        flow = make_flow(partition.shape, context=features)
    flow.reversible = bool(config.get("reversible"))
    return Member(flow, embedding)


def _make_embedding(config: Mapping[str, Any], partition: Partition) -> Embedding | None:
    """Return the embedding of y as context that a config describes; None where it has none."""
    data = config.get("data") or {}
    trials = data.get("trials") is not None
    missing = trials or data.get("missing") is not None
    if missing and "y" not in partition.context:
        key = "trials" if trials else "missing"
        raise InnflowError(f"data.{key}={data[key]}: needs partition=given_y, not {partition}")
    if config.get("embedding") is None or "y" not in partition.context:
        return None
    with refusals("embedding"):
        make = fix(build(config["embedding"], "embedding"), missing=missing, trials=trials)
        return cast(Embedding | None, make(partition.context["y"]))


def load(run: str | Path, which: str = "best", trust: bool = False) -> Application:
    """Return the trained application of a run folder, a checkpoint or a pretrained flow.

    Args:
        run: a run folder, a `.ckpt` file by itself, or `pretrained:NAME`.
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
    if Path(run).is_dir():
        check_links(Path(run))
    checkpoint = read_checkpoint(path)
    own = checkpoint["innflow"]
    config = own["config"]
    missing = [name for name in (*MODEL, "partition") if name not in config]
    if missing:
        raise InnflowError(f"{path}: cannot be loaded, its config lacks {', '.join(missing)}")
    model = {name: config[name] for name in (*MODEL, "embedding") if name in config}
    if not trust:
        check_resolved(config, str(path))  # also in nodes that a command may build later
        check_trusted(model, str(path))
    with reading(path):
        check(model)
        check_sizes(model)
        app = assemble(config, own["shapes"], own["columns"])
        app.signature = own["signature"]
    load_weights(app, checkpoint, f"{path}: its weights do not fit its own config")
    for file in sorted((Path(run) / COMPANIONS).glob("*.ckpt")):  # none for a checkpoint file
        app.companions[file.stem] = load(file, trust=trust)
    with files_of(run, checkpoint) as folder:
        if (folder / SCORES).is_file() and config["score"]:
            with reading(path):
                app.scorer = build(config["score"], "score").load(folder / SCORES)
    latents = Path(run) / LATENTS
    if latents.is_file() and isinstance(app, Generation):
        app.fitted_latents = PrincipalNormal.load(latents, app.dims)
    if isinstance(app, Unconditional) and config.get("data", {}).get("_target_") == EMBEDDINGS:
        app.features = cache(partial(open_features, app, str(run), trust))
    return app.eval()
