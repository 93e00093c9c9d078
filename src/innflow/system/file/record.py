"""Readers of the JSON and YAML files in which a run folder records its run."""

import json
from pathlib import Path
from typing import Any

import yaml

from innflow.errors import InnflowError
from innflow.system.tree import check_plain


def read_json(path: Path, default: Any, hint: str = "") -> Any:
    """Return the content of a JSON file, or `default` where there is none.

    Raises:
        InnflowError: if it is not readable as JSON; the message ends with the hint.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else default
    except (ValueError, RecursionError):
        end = f"; {hint}" if hint else ""
        raise InnflowError(f"{path}: not readable as JSON{end}") from None


def read_yaml(path: Path, default: Any) -> Any:
    """Return the content of a YAML file, or `default` where there is none or it is empty.

    Raises:
        InnflowError: if it is not readable as YAML.
    """
    try:
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        content = yaml.safe_load(text)
        check_plain(content)
        return content or default
    except (ValueError, RecursionError, yaml.YAMLError):
        raise InnflowError(f"{path}: not readable as YAML") from None
