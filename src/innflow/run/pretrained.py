"""Packed checkpoints: weights and config in a safetensors file, with a JSON card."""

import difflib
import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from innflow.config.places import PRETRAINED, is_place
from innflow.errors import InnflowError
from innflow.system.file.atomic import write_json, writing
from innflow.system.file.record import read_json

FOLDER = Path(__file__).parents[1] / "pretrained"
"""Folder of the packed checkpoints that come with innflow."""
SUFFIX = ".safetensors"
FILES = "files"
"""Key of the files of a run folder, as bytes, in a checkpoint that has left the folder."""
_CONFIG = (
    *("app", "model", "latent", "objective", "optimizer", "schedule", "score", "partition"),
    *("data", "analysis", "study", "seed", "name"),
)
"""Keys of a run's config that a packed checkpoint keeps."""


def names() -> list[str]:
    """Return the names of the pretrained flows.

    >>> "digits8" in names()
    True
    """
    return sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}"))


def card(name: str) -> dict[str, Any]:
    """Return the card of a pretrained flow: data, licence, command, numbers and checksum.

    Raises:
        InnflowError: if there is no flow of this name, or its card is damaged.

    >>> card("digits8")["data"]
    "scikit-learn's 8x8 digits"
    """
    return _read_card(find_pretrained(name))


def find_pretrained(name: str) -> Path:
    """Return the file of a pretrained flow; its name may begin with `pretrained:`."""
    name = name.removeprefix(PRETRAINED)
    known = names()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        raise InnflowError(
            f"{PRETRAINED}{name} is unknown; did you mean {close[0] if close else 'a folder'}? "
            f"There are {', '.join(known)}"
        )
    return FOLDER / f"{name}{SUFFIX}"


def pack(checkpoint: Mapping[str, Any], path: Path, facts: Mapping[str, Any]) -> None:
    """Write a checkpoint without the state of its training, and its card.

    Args:
        checkpoint: of `attach_files`.
        path: file to write; the card has the suffix .json.
        facts: further entries of the card.
    """
    own = checkpoint["innflow"]
    weights: dict[str, Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for name, value in checkpoint["state_dict"].items():
        if isinstance(value, dict):  # the extra state of a module
            plain[name] = {k: v for k, v in value.items() if not isinstance(v, Tensor)}
            weights |= {f"{name}/{k}": v for k, v in value.items() if isinstance(v, Tensor)}
        else:
            weights[name] = value
    weights |= {f"{FILES}/{name}": content for name, content in checkpoint.get(FILES, {}).items()}
    config = {key: own["config"][key] for key in _CONFIG}
    # Places of the machine on which it was trained.
    config["data"] = {
        key: None if isinstance(value, str) and is_place(value) else value
        for key, value in config["data"].items()
        if key != "cache_dir"
    }
    stored = {**own, "config": config, "signature": None}
    content = save(
        {name: value.contiguous() for name, value in weights.items()},
        {"innflow": json.dumps(stored), "extra_state": json.dumps(plain)},
    )
    with writing(path) as file:
        file.write(content)
    origin = {"innflow": version("innflow"), "format": own["format"]}
    numbers = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    write_json(path.with_suffix(".json"), {**facts, **origin, **numbers})


def unpack(path: Path) -> dict[str, Any]:
    """Return the content of a packed checkpoint: `state_dict` and `innflow`.

    Raises:
        InnflowError: if it differs from the checksum of its card, or is none.
    """
    expected = _read_card(path).get("sha256")
    if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
        raise InnflowError(f"{path}: damaged, it differs from the checksum in its card")
    try:
        with safe_open(path, "pt") as file:
            state: dict[str, Any] = json.loads(file.metadata()["extra_state"]) | {FILES: {}}
            for key in file.keys():  # noqa: SIM118
                name, _, entry = key.partition("/")
                if entry:
                    state[name][entry] = file.get_tensor(key)
                else:
                    state[name] = file.get_tensor(key)
            own = json.loads(file.metadata()["innflow"])
            return {FILES: state.pop(FILES), "state_dict": state, "innflow": own}
    except (SafetensorError, OSError, ValueError, LookupError, TypeError) as error:
        raise InnflowError(f"{path}: is no packed checkpoint ({error})") from None


def _read_card(path: Path) -> dict[str, Any]:
    content = read_json(path.with_suffix(".json"), None)
    if not isinstance(content, dict):
        raise InnflowError(f"{path}: its card {path.stem}.json is missing; install innflow again")
    return content
