"""The config of a resumed run: the stored config with the changes of the command line."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig

from innflow.config.build import is_group, to_plain
from innflow.config.places import confine, is_place, refuse_places
from innflow.config.schema import nodes
from innflow.config.trust import (
    IMPORTED,
    check_resolved,
    check_version,
    foreign_code,
    known_targets,
)
from innflow.errors import InnflowError
from innflow.run.folder import is_own
from innflow.system.file.record import read_yaml
from innflow.system.secret import REMOVED
from innflow.system.tree import move_paths, walk

OWN = ("run_dir", "ckpt")
"""Keys that select the run to resume."""
FIXED = ("seed", "optimizer", "init")
"""Keys fixed by the checkpoint; changing them on resume is refused."""

Leaves = dict[tuple[str, ...], Any]


def resumed_arguments(arguments: Sequence[str]) -> list[str]:
    """Prepend the stored overrides of the run to be resumed to the arguments of innflow-train.

    Groups of the run, and keys that exist only in them, can then be changed by the arguments.
    Arguments without both `run_dir` and `ckpt` are returned as they are.

    Raises:
        InnflowError: if the folder holds no run, one of another version of innflow, or an override
            that may not be stored.
    """
    own = {}
    for text in arguments:
        key, _, value = text.partition("=")
        own[key] = value.strip("'\"")
    if not all(own.get(key, "null") not in ("null", "") for key in OWN):
        return list(arguments)
    run_dir = Path(own["run_dir"])
    if {"-m", "--multirun"} & set(arguments):
        raise InnflowError("ckpt: resumes one run, not a sweep; give it without --multirun")
    now = [text for text in arguments if "=" in text]
    before = _typed(run_dir, now)
    # Before anything is composed: overrides of another version name keys that are unknown here.
    check_version(_read(run_dir / "config.yaml", dict), f"run_dir={run_dir}: its config.yaml")
    # Keep the stored `+key=old` next to a new `key=...`: without it Hydra rejects the unknown key.
    replaced = {(_key(text), text[0] in "+~") for text in now}
    replaced |= {(key, False) for key, _ in replaced}
    kept = [text for text in before if (_key(text), text[0] in "+~") not in replaced]
    return [*kept, *arguments]


def resume_config(
    run_dir: Path,
    overrides: Sequence[str],
    typed: Sequence[str],
    compose: Callable[[list[str]], DictConfig],
) -> dict[str, Any]:
    """Return the config of a stopped run with the changes of the command line.

    The run's overrides and the new ones are both composed, and the keys in which the results
    differ are changed in config.yaml. Values interpolated from changed keys change too; all others
    stay as stored. The folder may have been moved.

    Args:
        run_dir: folder of the run.
        overrides: all overrides, including those of the run.
        typed: those of the command line, which may name code and places outside of the folder.
        compose: composes a config from overrides.

    Raises:
        InnflowError: if the folder has no config, or a change is not possible in a resumed run.
    """
    config, before = _read(run_dir / "config.yaml", dict), _typed(run_dir, typed)
    check_resolved(config, str(run_dir / "config.yaml"))
    both = [text for text in overrides if _key(text) not in OWN]
    leaves = dict(_leaves(move_paths(config, str(config.get("run_dir")), str(run_dir))))
    secret = [path for path, value in leaves.items() if isinstance(value, str) and REMOVED in value]
    if both != before or secret:
        old, new = (_composed(texts, run_dir, compose) for texts in (before, both))
        changed = [path for path in new if path not in old or new[path] != old[path]]
        for path in changed:
            if path[0] in FIXED:
                raise InnflowError(
                    f"{'.'.join(path)}={new[path]}: ckpt=last resumes with the {path[0]} of "
                    f"the run; for another one start a new run with init={run_dir}"
                )
        leaves = {path: value for path, value in leaves.items() if path in new or path not in old}
        leaves |= {path: new[path] for path in [*changed, *secret] if path in new}
    result = _nested(leaves)
    _check_code(result, typed, run_dir)
    if not is_own(run_dir):
        result = confine(result, f"run_dir={run_dir}: its config.yaml", run_dir, typed)
        stored = {
            key: value
            for parsed in map(_parse, before)
            for key, value in walk(parsed.value(), parsed.key_or_group)
            if isinstance(value, str) and is_place(value) and key != "init"
        }
        refuse_places(stored, f"run_dir={run_dir}: its overrides.yaml", run_dir, typed)
    return {**result, "run_dir": str(run_dir)}


def _typed(run_dir: Path, now: Sequence[str]) -> list[str]:
    """Return the stored overrides of a run; those that `now` gives again are not checked."""
    then = [str(text) for text in _read(run_dir / "overrides.yaml", list)]
    for text in then:
        if text not in now and not _may_be_stored(text):
            raise InnflowError(
                f"run_dir={run_dir}: its overrides.yaml holds {text!r}; a stored override may have "
                "no key that begins with hydra, no package, no ${...} and no option outside of "
                "its group: remove the line, or pass it as an argument"
            )
    return [text for text in then if _key(text) not in OWN]


def _may_be_stored(text: str) -> bool:
    """Return whether an override of a run folder can neither run code nor read the environment.

    Hydra instantiates nodes under `hydra` and resolves `${...}` before any config can be checked,
    and reads `experiment=../../x` from outside of innflow's configs. innflow stores neither: the
    overrides of a task exclude `hydra`.
    """
    try:
        parsed = _parse(text)
    except HydraException:  # an option of the command line, or no override at all
        return False
    key = parsed.key_or_group
    words = [str(value) for _, value in walk(parsed.value()) if isinstance(value, str)]
    if key.startswith("hydra") or parsed.package is not None or "${" in "".join([text, *words]):
        return False
    steps = (step for word in words for step in word.split("/"))
    return not is_group(key) or not any(step in ("", ".", "..") for step in steps)


def _read(path: Path, kind: type) -> Any:
    if not path.parent.is_dir():
        raise InnflowError(
            f"run_dir={path.parent}: no such folder; give the one that innflow-train printed"
        )
    content = read_yaml(path, None)
    if not isinstance(content, kind):
        raise InnflowError(
            f"run_dir={path.parent}: no {path.name} there; if the run was stopped before it had "
            "written its settings, start it again in another folder"
        )
    return content


def _parse(override: str) -> Override:
    return OverridesParser.create().parse_override(override)


def _key(override: str) -> str:
    return str(_parse(override).key_or_group)


def _composed(
    overrides: list[str], run_dir: Path, compose: Callable[[list[str]], DictConfig]
) -> Leaves:
    config = compose(overrides)
    config.run_dir = str(run_dir)
    return dict(_leaves(to_plain(config)))


def _leaves(config: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path of keys and the value of each leaf of nested dicts; a list is a leaf."""
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


def _check_code(config: Mapping[str, Any], typed: Sequence[str], run_dir: Path) -> None:
    """Refuse targets and import paths that are neither in innflow's configs nor in `typed`."""
    known = known_targets()
    found: list[tuple[str, str]] = []
    for path, node in nodes(config):
        if "_args_" in node:
            raise InnflowError(
                f"run_dir={run_dir}: its config.yaml has {path}._args_, which innflow never "
                "writes; give a run of innflow-train"
            )
        found.append((f"{path}._target_", str(node["_target_"])))
        found += [(f"{path}.{key}", foreign_code({key: node.get(key)}) or "") for key in IMPORTED]
    for key, name in found:
        if name and name not in known and not any(text.endswith(f"={name}") for text in typed):
            raise InnflowError(
                f"run_dir={run_dir}: its config.yaml names the code {name}; if you trust it, "
                f"add {key}={name}"
            )
