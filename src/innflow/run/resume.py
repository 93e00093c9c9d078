"""The config with which a stopped run goes on: its own, changed where the command line says so."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig

from innflow.config.build import CONF, to_plain
from innflow.config.schema import nodes
from innflow.config.trust import IMPORTED, check_resolved, foreign_code
from innflow.errors import InnflowError
from innflow.system.secret import REMOVED

OWN = ("run_dir", "ckpt")
"""Keys that say which run goes on."""
FIXED = ("seed", "optimizer", "init")
"""What a checkpoint brings along: another value would be ignored, or would not fit."""

Leaves = dict[tuple[str, ...], Any]


def resumed_arguments(arguments: Sequence[str]) -> list[str]:
    """Return arguments of a command with what was typed for the run before them, if one goes on.

    Groups and keys that it was given can so be changed, and so can those that only they have.
    """
    own = {}
    for text in arguments:
        key, _, value = text.partition("=")
        own[key] = value.strip("'\"")
    if not all(own.get(key, "null") not in ("null", "") for key in OWN):
        return list(arguments)
    before, now = _typed(Path(own["run_dir"])), [text for text in arguments if "=" in text]
    # What adds a key stays: the change of one that is not there would be refused.
    replaced = {(_key(text), text[0] in "+~") for text in now}
    replaced |= {(key, False) for key, _ in replaced}
    kept = [text for text in before if (_key(text), text[0] in "+~") not in replaced]
    return [*kept, *arguments]


def resume_config(
    run_dir: Path, typed: Sequence[str], compose: Callable[[list[str]], DictConfig]
) -> dict[str, Any]:
    """Return the config of a stopped run, changed where the command line says so.

    The difference that new overrides make to the old ones is brought into config.yaml: so it
    reaches everything that refers to it, and nothing else.

    Args:
        run_dir: folder of the run, perhaps moved since.
        typed: all overrides, those of the run among them.
        compose: makes a config of overrides.

    Raises:
        InnflowError: if the folder has no config, or a change is one that a run cannot take up.
    """
    config, before = _read(run_dir / "config.yaml", dict), _typed(run_dir)
    check_resolved(config, str(run_dir / "config.yaml"))
    both = [text for text in typed if _key(text) not in OWN]
    old_dir = re.compile(re.escape(str(config.get("run_dir"))) + r"(?=/|$)")
    leaves = dict(_leaves(_moved(config, old_dir, str(run_dir))))
    secret = [path for path, value in leaves.items() if isinstance(value, str) and REMOVED in value]
    if both != before or secret:
        old, new = (_composed(texts, run_dir, compose) for texts in (before, both))
        changed = [path for path in new if path not in old or new[path] != old[path]]
        for path in changed:
            if path[0] in FIXED:
                raise InnflowError(
                    f"{'.'.join(path)}={new[path]}: ckpt=last goes on with the {path[0]} that the "
                    f"run has; for another begin a new run with init={run_dir}"
                )
        leaves = {path: value for path, value in leaves.items() if path in new or path not in old}
        leaves |= {path: new[path] for path in [*changed, *secret] if path in new}
    result = _nested(leaves)
    _check_code(result, [text for text in both if text not in before], run_dir)
    return {**result, "run_dir": str(run_dir)}


def _typed(run_dir: Path) -> list[str]:
    """Return what was typed for a run.

    Raises:
        InnflowError: if the folder holds no such file, or an override that may not be stored.
    """
    then = [str(text) for text in _read(run_dir / "overrides.yaml", list)]
    for text in then:
        check_stored(text, run_dir)
    return [text for text in then if _key(text) not in OWN]


def check_stored(text: str, run_dir: Path) -> None:
    """Refuse an override of a run folder that could run code or read the environment.

    Hydra instantiates what stands under `hydra`, and a `${...}` calls a resolver, both before
    any config can be checked. innflow writes neither: the overrides of a task exclude `hydra`.

    Raises:
        InnflowError: naming the override.
    """
    try:
        refused = _key(text).startswith("hydra") or "${" in text
    except HydraException:  # an option of the command line, or nothing that Hydra would read
        refused = True
    if refused:
        raise InnflowError(
            f"run_dir={run_dir}: its overrides.yaml holds {text!r}, which a stored override may "
            "not: no key that begins with hydra, no ${...}; remove the line, and type it if you "
            "need it"
        )


def _read(path: Path, kind: type) -> Any:
    if not path.parent.is_dir():
        raise InnflowError(
            f"run_dir={path.parent}: no such folder; takes the one that innflow-train printed"
        )
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        content = None
    if not isinstance(content, kind):
        raise InnflowError(f"run_dir={path.parent}: no {path.name} there; was the run trained?")
    return content


def _key(override: str) -> str:
    return str(OverridesParser.create().parse_override(override).key_or_group)


def _composed(
    overrides: list[str], run_dir: Path, compose: Callable[[list[str]], DictConfig]
) -> Leaves:
    config = compose(overrides)
    config.run_dir = str(run_dir)
    return dict(_leaves(to_plain(config)))


def _leaves(config: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the values of nested dicts with the keys that lead to them; lists are values."""
    if isinstance(config, Mapping) and config:
        for key, value in config.items():
            yield from _leaves(value, (*path, key))
    else:
        yield path, config


def _nested(leaves: Leaves) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for path, value in leaves.items():
        node = result
        for key in path[:-1]:
            if not isinstance(node.get(key), dict):
                node[key] = {}
            node = node[key]
        if value != {} or not isinstance(node.get(path[-1]), dict):
            node[path[-1]] = value
    return result


def _moved(value: Any, old: re.Pattern[str], new: str) -> Any:
    """Return a config with another run folder in every path."""
    if isinstance(value, Mapping):
        return {key: _moved(each, old, new) for key, each in value.items()}
    if isinstance(value, list):
        return [_moved(each, old, new) for each in value]
    return old.sub(lambda _: new, value) if isinstance(value, str) else value


def _check_code(config: Mapping[str, Any], typed: Sequence[str], run_dir: Path) -> None:
    """Refuse code that neither innflow's own configs name nor the user: a folder is only data."""
    known = {
        target
        for file in Path(str(files(CONF))).rglob("*.yaml")
        for target in re.findall(r"_target_: *([\w.]+)", file.read_text(encoding="utf-8"))
    }
    found: list[tuple[str, str]] = []
    for path, node in nodes(config):
        if "_args_" in node:
            raise InnflowError(
                f"run_dir={run_dir}: its config.yaml has {path}._args_, which innflow never "
                "writes; takes a run that innflow-train has begun"
            )
        found.append((f"{path}._target_", str(node["_target_"])))
        found += [(f"{path}.{key}", foreign_code({key: node.get(key)}) or "") for key in IMPORTED]
    for key, name in found:
        if name and name not in known and not any(text.endswith(f"={name}") for text in typed):
            raise InnflowError(
                f"run_dir={run_dir}: its config.yaml names the code {name}; if you trust it, "
                f"add {key}={name}"
            )
