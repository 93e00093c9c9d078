"""innflow-train with hostile keys and values on its command line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from chaos.conftest import MOONS
from chaos.explore import explore
from chaos.sandbox import require
from chaos.settings import share
from chaos.values import misspelt, texts, typed
from innflow.config.build import CONF, compose_config, to_plain
from innflow.config.resolvers import register_resolvers
from innflow.system.tree import walk

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

COMPILES = ("compile",)
"""A key whose valid values take minutes."""
PROCESSES = ("trainer.devices", "trainer.num_nodes", "trainer.strategy", "strategy")
"""Keys whose valid values start processes: the kills have them."""
LARGE = (
    "strategy",
    "logger",
    "hydra",
    "debug",
    "paths",
    "extra",
    "experiment",
    "command",
    "data",
    "analysis",
)
"""Groups that open connections or take minutes."""


def defaults() -> dict[str, Any]:
    """Return the values of a small run by dotted keys, inner nodes too."""
    register_resolvers()
    config = to_plain(compose_config("train", [*MOONS, "run_dir=run"]))
    return {path: value for path, value in walk(config) if path}


def keys(config: dict[str, Any]) -> list[str]:
    """Return the keys to be changed."""
    found = set(config)
    found |= {path.rpartition(".")[0] for path in found}
    return sorted(path for path in found if path and path not in (*PROCESSES, *COMPILES))


def near(key: str, value: Any) -> st.SearchStrategy[str]:
    """Return overrides of a key by values near its own, which may be valid."""
    if isinstance(value, bool):
        others = st.booleans().map(lambda new: str(new).lower())
    elif isinstance(value, int | float):
        factors = st.sampled_from((-1, 0, 0.5, 0.99, 1, 1.01, 2, 3))
        others = factors.map(lambda factor: type(value)(value * factor))
    elif value is None:
        others = st.sampled_from((0, 1, 0.5, "x", "[]", "{}", "true"))
    else:
        others = st.sampled_from(("null", "x", 0, "[]", "[1]", "[8,8]", "{}", str(value)))
    return others.map(lambda new: f"{key}={new}")


def choices() -> list[str]:
    """Return `group=option` of groups that may not fit each other."""
    conf = Path(__file__).parents[2] / "conf"
    assert CONF == "innflow.conf"
    files = [path.relative_to(conf).with_suffix("") for path in sorted(conf.glob("*/*.yaml"))]
    return [f"{path.parent}={path.name}" for path in files if str(path.parent) not in LARGE]


def right(here: Path) -> None:
    """Check that a run that worked has finite metrics and a whole folder."""
    found = list(here.rglob("metrics.json"))
    require(len(found) == 1, f"worked, and wrote metrics.json {len(found)} times")
    metrics = json.loads(found[0].read_text())
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    require(not bad, f"worked, and {bad} are not finite")
    names = {path.name for path in found[0].parent.iterdir()}
    missing = {"checkpoints", "config.yaml", "metrics.csv", "report.html"} - names
    require(not missing, f"worked, and left out {missing}")


def test_overrides(case):
    config = defaults()
    known = keys(config)
    key = st.one_of(st.sampled_from(known), st.sampled_from(known), misspelt(known), texts)
    prefix = st.sampled_from(("", "", "", "+", "++", "~"))
    override = st.one_of(
        st.builds("{}{}={}".format, prefix, key, typed()),
        st.builds("{}{}".format, prefix, key),
        st.sampled_from(choices()),
        st.sampled_from(known).flatmap(lambda key: near(key, config.get(key))),
    )
    cases = st.lists(override, min_size=1, max_size=2)

    def check(overrides: list[str]) -> str:
        with case() as box:
            free = any("dir" in each or "name" in each or "outputs" in each for each in overrides)
            free |= any("stamp" in each or "hydra" in each for each in overrides)
            return box.call(
                *("innflow-train", *MOONS, "run_dir=run", *overrides),
                may_write=["."] if free else ["run"],
                right=lambda answer: right(box.here) if "--" not in str(overrides) else None,
            )

    explore("overrides of innflow-train", cases, share(7), check)
