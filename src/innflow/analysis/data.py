"""The data module of a run, built from the config of its checkpoint."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from innflow.app.application import Application
from innflow.config.build import build
from innflow.config.places import confine
from innflow.config.trust import check_trusted
from innflow.data.base import PartsDataModule
from innflow.errors import InnflowError
from innflow.system.signature import is_signed


def build_data(node: Mapping[str, Any]) -> PartsDataModule:
    """Build the data module of a config.

    Raises:
        InnflowError: with the reason, also where the node is of something else.
    """
    data = build(node, "data")
    if not isinstance(data, PartsDataModule):
        raise InnflowError(f"data._target_: gives a {type(data).__name__}, which is no data module")
    return data


def trusted_data(
    node: Mapping[str, Any], app: Application, run: str, trust: bool
) -> Mapping[str, Any]:
    """Return the data node of a loaded application, with the cache of this account.

    Raises:
        InnflowError: if it names code or places that are not trusted.
    """
    if trust:
        return node
    check_trusted({"data": node}, f"run={run}", data=True)
    if is_signed(app.signature, app.config):
        return node
    data: Mapping[str, Any] = confine({"data": node}, f"run={run}", Path(run), None)["data"]
    return data
