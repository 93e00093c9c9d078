"""Set-up of a run: checks of its config, its start and its application."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from innflow.app import Application
from innflow.callback import MetricsCSV
from innflow.config.schema import check
from innflow.config.sizes import check_sizes
from innflow.data.base import PartsDataModule
from innflow.errors import InnflowError
from innflow.run.checkpoint import (
    CHECKPOINTS,
    check_paths,
    find_checkpoint,
    load_weights,
    read_checkpoint,
)
from innflow.run.companion import open_companions, start_from
from innflow.run.folder import is_requeued_run
from innflow.run.load import assemble
from innflow.run.strategy import check_strategy
from innflow.system.explain import note
from innflow.system.progress import announce
from innflow.system.secret import redact
from innflow.system.signature import sign

QUICK_SIZES = {"n": 1000, "n_test": 64, "n_train": 80, "n_outliers": 12}
"""Largest numbers of simulated or drawn items, by the key of the data, where study.quick=true."""

GROUPS = ("callbacks", "logger", "analysis", "latent")
"""Keys whose value is a node for each name, or null."""


def check_config(config: Mapping[str, Any]) -> None:
    """Check a whole config, and silence Lightning's own messages.

    Raises:
        InnflowError: naming the key that is unknown, of a wrong type, or does not fit others.
    """
    for library in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    _check_kinds(config)
    check(config)
    for name in ("data", "app", "model", "objective", "optimizer", "schedule", "trainer"):
        node = config.get(name)
        if not isinstance(node, Mapping) or "_target_" not in node:
            raise InnflowError(f"{name}: every run needs one; take {name}=OPTION, without ~{name}")
    check_sizes(config)
    for name in ("compile", "reversible"):
        if not isinstance(config.get(name), bool):
            raise InnflowError(f"{name}={config.get(name)}: must be true or false")
    if config["compile"] and config["reversible"]:
        raise InnflowError(
            "compile=true with reversible=true: the compiled code stores activations; "
            "choose compile for speed or reversible for memory"
        )
    check_strategy(config)


def _check_kinds(config: Mapping[str, Any]) -> None:
    """Check the keys that belong to no target, in a config that may be of another person."""
    if not isinstance(config.get("name"), str):
        raise InnflowError(
            f"name={config.get('name')!r}: must be a name, for the folder of the run"
        )
    for key in (*GROUPS, "companions", "partition", "score", "study"):
        value = config.get(key)
        if key == "logger" and key in config and value is None:
            continue
        if not isinstance(value, Mapping):
            raise InnflowError(f"{key}={value!r}: must be keys and values; every run needs them")
        for name, node in value.items():
            if key in GROUPS and not isinstance(node, Mapping | None):
                raise InnflowError(f"{key}.{name}={node!r}: must be the keys of a target, or null")
            if key == "companions" and not isinstance(node, str | None):
                raise InnflowError(f"{key}.{name}={node!r}: must be the folder of a run, or null")
    if config["score"] and "_target_" not in config["score"]:
        raise InnflowError("score: has no _target_; choose score=default, or score=none")


def cut_short(config: dict[str, Any]) -> dict[str, Any]:
    """Return a config with few simulated or drawn items if the study is quick."""
    data = config["data"]
    if config["study"]["quick"] is not True:
        return config
    given = [key for key in QUICK_SIZES if isinstance(data.get(key), int)]
    return {**config, "data": {**data, **{key: min(data[key], QUICK_SIZES[key]) for key in given}}}


def find_start(run_dir: Path, ckpt: str | None) -> Path | None:
    """Return the checkpoint from which a run is resumed; None for a new run.

    A requeued Slurm job resumes automatically from its last checkpoint. A run that ended before its
    first one starts again.
    """
    if ckpt is None and not is_requeued_run(run_dir):
        return None
    unsaved = run_dir.is_dir() and not (run_dir / CHECKPOINTS / "last.ckpt").is_file()
    if unsaved and ckpt in (None, "last"):
        announce(f"run_dir={run_dir}: ended before it saved last.ckpt, starts again from step 0")
        return None
    return find_checkpoint(run_dir, ckpt or "last")


def forget(run_dir: Path) -> None:
    """Remove what an earlier attempt has left of a run that starts from step 0."""
    for path in (run_dir / CHECKPOINTS).glob("*.ckpt"):
        path.unlink()
    MetricsCSV(run_dir).cut(0)


def continuation(run_dir: Path) -> str:
    """Return where a run that ended early can be resumed, as the end of a message."""
    try:
        step = read_checkpoint(run_dir / CHECKPOINTS / "last.ckpt")["global_step"]
    except InnflowError:
        return f"run_dir={run_dir} ckpt=last begins it again: nothing was saved"
    return f"run_dir={run_dir} ckpt=last continues from step {step}"


@contextmanager
def noting_continuation(run_dir: Path) -> Iterator[None]:
    """Add to an error within this block where the run can be resumed."""
    try:
        yield
    except Exception as error:
        if (run_dir / CHECKPOINTS).is_dir():
            note(error, continuation(run_dir))
        raise


def build_application(
    config: dict[str, Any], data: PartsDataModule, start: Path | None
) -> Application:
    """Build the application of a config, with its companions and the weights it starts from.

    The weights of a resumed run are loaded here, before Lightning loads them again, so that a
    checkpoint that does not fit is refused with a message.
    """
    app = assemble(config, data.shapes)
    app.config = redact(config)  # it is stored in checkpoints
    app.signature = sign(app.config)
    app.companions |= open_companions(config["companions"], app)
    if start is not None:
        fault = f"{start}: its weights do not fit this model: do not change its keys"
        checkpoint = read_checkpoint(start, resume=True)
        check_paths(checkpoint, start)
        load_weights(app, checkpoint, fault)
    elif config["init"] is not None:
        start_from(config["init"], app)
    return app


def copy_whole(app: Application, config: Mapping[str, Any], data: PartsDataModule) -> Application:
    """Build an unsharded, untrained copy of a sharded application."""
    again = assemble(config, data.shapes, app.columns)
    again.config, again.companions = app.config, app.companions
    again.signature = app.signature
    return again
