"""Reading of checkpoints: every byte, entry and weight is checked before it is used."""

import pickle
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    InstanceOf,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    field_validator,
)

from innflow.app import Application
from innflow.app.module import FORMAT
from innflow.config.message import one_line
from innflow.config.places import PRETRAINED, is_place
from innflow.errors import InnflowError
from innflow.run.pretrained import SUFFIX, find_pretrained, unpack
from innflow.system.file.regular import why_not_regular
from innflow.system.tree import check_plain, move_paths, walk

CHECKPOINTS = "checkpoints"
"""Folder of a run with its checkpoints."""
_FILES = ("best_model_path", "kth_best_model_path", "last_model_path", "best_k_models")
"""Keys in the state of a `ModelCheckpoint` under which it names files."""
_DAMAGE = (
    *(RuntimeError, EOFError, OSError, ValueError, LookupError, TypeError, AttributeError),
    *(AssertionError, MemoryError, OverflowError, zipfile.BadZipFile, zlib.error),
)


class _Config(BaseModel):
    """Keys of a stored config that no constructor takes."""

    model_config = ConfigDict(strict=True)
    seed: NonNegativeInt = 0
    data: dict[str, Any] = {}
    analysis: dict[str, Any] = {}
    score: dict[str, Any] | None = None
    study: dict[str, Any] = {}
    partition: dict[str, Any] = {}


class _Stored(BaseModel):
    """What `FlowModule.on_save_checkpoint` adds to a checkpoint."""

    model_config = ConfigDict(strict=True)
    config: _Config
    shapes: dict[str, list[PositiveInt]]
    columns: dict[str, list[str]]
    signature: str | None


class _Resume(BaseModel):
    """What `LastCheckpoint` adds to a checkpoint."""

    model_config = ConfigDict(strict=True)
    random: list[dict[str, Any]]
    rows: NonNegativeInt
    row: dict[str, float | None] | None
    step: int


class _Training(BaseModel):
    """State of a training in a checkpoint."""

    model_config = ConfigDict(strict=True)
    epoch: NonNegativeInt
    global_step: NonNegativeInt
    optimizer_states: list[dict[str, Any]]
    lr_schedulers: list[dict[str, Any]]
    loops: dict[str, dict[str, Any]]
    callbacks: dict[str, dict[str, Any]]
    resume: _Resume


class _Contents(BaseModel):
    model_config = ConfigDict(strict=True, arbitrary_types_allowed=True)
    state_dict: dict[str, InstanceOf[torch.Tensor] | dict[str, Any]]  # dicts: extra states
    innflow: _Stored
    files: dict[str, InstanceOf[torch.Tensor]] = {}

    @field_validator("files")
    @classmethod
    def _check_files(cls, files: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Refuse names that are not of arrays in one folder, and values that are not bytes."""
        for name, content in files.items():
            if not re.fullmatch(r"\w+\.npz", name) or content.dtype != torch.uint8:
                raise ValueError(f"{name} must be the bytes of an .npz file")
        return files


def find_checkpoint(run: str | Path, which: str = "best") -> Path:
    """Return the checkpoint of a run folder, or of `pretrained:NAME`; a file is returned as it is.

    Args:
        run: the folder, file or name.
        which: `best` or `last` of the folder.
    """
    if str(run).startswith(PRETRAINED):
        return find_pretrained(str(run))
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


def read_checkpoint(path: Path, resume: bool = False) -> dict[str, Any]:
    """Read a checkpoint of innflow: tensors, plain dicts and lists only.

    Args:
        path: the file.
        resume: whether a training is to be resumed from it, whose state is then checked too.

    Raises:
        InnflowError: if it is truncated, damaged, of another kind or version, holds pickled
            objects, or an entry is of a wrong kind.
    """
    checkpoint = unpack(path) if path.suffix == SUFFIX else _read_archive(path)
    own = checkpoint.get("innflow") if isinstance(checkpoint, dict) else None
    if not isinstance(own, dict) or "state_dict" not in checkpoint:
        raise InnflowError(f"{path}: is not a checkpoint of innflow")
    number = own.get("format")
    if type(number) is not int or number != FORMAT:
        raise InnflowError(
            f"{path}: written by another version of innflow, in format "
            f"{shorten(repr(number), 40)}; this one reads format {FORMAT}: train the run again"
        )
    try:
        check_plain(own)
        check_plain(checkpoint, torch.Tensor)
        for kind in (_Contents, _Training) if resume else (_Contents,):
            kind.model_validate(checkpoint)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InnflowError(f"{path}: {where} is of a wrong kind: {first['msg'].lower()}") from None
    except ValueError as error:
        raise InnflowError(f"{path}: {error}") from None
    return checkpoint


def _read_archive(path: Path) -> Any:
    """Read what `torch.save` has written, if it is undamaged and holds no pickled objects."""
    try:
        damaged = _find_damage(path)
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise InnflowError(
            f"{path}: refused, it holds more than tensors and plain dicts (or is damaged); "
            "checkpoints of innflow never do"
        ) from None
    except _DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InnflowError(f"{path}: cannot be read, truncated or damaged ({reason})") from None
    if damaged is not None:
        name = _names_of_storages(checkpoint).get(damaged, damaged)
        raise InnflowError(f"{path}: damaged, {name} differs from its checksum; use a copy of it")
    return checkpoint


def load_weights(app: Application, checkpoint: Mapping[str, Any], fault: str) -> None:
    """Load the weights of a checkpoint; if they do not fit, raise `fault` with the reason."""
    weights, parameters = checkpoint["state_dict"], dict(app.named_parameters())
    for name, own in app.state_dict().items():
        given = weights.get(name)
        kinds = [str(getattr(value, "dtype", type(value).__name__)) for value in (given, own)]
        if given is not None and kinds[0] != kinds[1]:
            raise InnflowError(f"{fault}: {name} is {kinds[0]}, not {kinds[1]}")
        if isinstance(given, torch.Tensor) and given.is_floating_point():
            # Buffers may hold the infinite ends of a support.
            finite = given.isfinite() if name in parameters else ~given.isnan()
            if not finite.all():
                raise InnflowError(f"{fault}: {name} is not finite")
    try:
        app.load_state_dict(weights)
    except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise InnflowError(f"{fault}: {shorten(str(error), 200, placeholder=' ...')}") from None


def check_paths(checkpoint: Mapping[str, Any], path: Path) -> None:
    """Refuse the state of a callback that names a file outside of the folder of a checkpoint.

    Lightning's `ModelCheckpoint` deletes the files that its state names. In a folder that was
    moved, the paths are those of its old place.

    Raises:
        InnflowError: naming the callback and the path.
    """
    folder = path.resolve().parent
    for name, state in checkpoint["callbacks"].items():
        old = state.get("dirpath")
        moved = move_paths(state, old, str(folder)) if isinstance(old, str) and old else state
        files = list(_texts([moved.get(key) for key in _FILES]))
        for text in [*files, *filter(is_place, _texts(moved))]:
            if text and not Path(text).resolve().is_relative_to(folder):
                raise InnflowError(f"{path}: its state of {name} names the file {text}, elsewhere")


def _texts(tree: Any) -> Iterator[str]:
    """Yield every text in a tree, keys included."""
    for _, value in walk(tree):
        found = value if isinstance(value, dict) else [value]
        yield from (text for text in found if isinstance(text, str))


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn any error into an `InnflowError` that names the file from which an object is built."""
    try:
        yield
    except InnflowError as error:
        named = str(path) in str(error)
        raise InnflowError(one_line(error) if named else f"{path}: {one_line(error)}") from None
    except Exception as error:
        raise InnflowError(f"{path}: cannot be used ({one_line(error)})") from error


def _find_damage(path: Path) -> str | None:
    """Return the number of a storage in the archive that differs from its checksum, if one does.

    torch.save writes the CRC of each entry, which torch.load does not compare.

    Raises:
        ValueError: it is not as torch.save writes it, or another entry is damaged.
    """
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            begins = file.read(2)
        raise ValueError("its end is missing") if begins == b"PK" else pickle.UnpicklingError
    with zipfile.ZipFile(path) as archive:
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            raise ValueError("torch.save does not compress")
        damaged = archive.testzip()
    if damaged is None:
        return None
    folder, _, number = damaged.rpartition("/")
    if not folder.endswith("/data"):
        raise ValueError(f"{damaged} in it differs from its checksum")
    return number


def _names_of_storages(checkpoint: Any) -> dict[str, str]:
    """Return the first tensor of each storage, by the number that torch.save gives to it."""
    names: dict[int, str] = {}
    for key, value in walk(checkpoint):
        if isinstance(value, torch.Tensor):
            names.setdefault(value.untyped_storage().data_ptr() or id(value), key)
    return {str(number): name for number, name in enumerate(names.values())}
