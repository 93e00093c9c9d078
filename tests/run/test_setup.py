"""Keys of a config that belong to no target are of the right kind, also in a stored config."""

from __future__ import annotations

import pytest

from innflow.config.build import compose_config, to_plain
from innflow.config.resolvers import register_resolvers
from innflow.run.setup import check_config


@pytest.fixture(scope="module")
def plain():
    register_resolvers()
    return to_plain(compose_config("train", ["run_dir=run"]))


@pytest.mark.parametrize(
    ("key", "value", "fragment"),
    [
        ("name", {"a": 1}, "name={'a': 1}: must be a name"),
        ("callbacks", None, "callbacks=None: must be keys"),
        ("callbacks", {"last": 3}, "callbacks.last=3: must be the keys of a target"),
        ("logger", [1], "logger=[1]: must be keys"),
        ("analysis", {"scores": "x"}, "analysis.scores='x': must be"),
        ("companions", {"general": 2}, "companions.general=2: must be the folder"),
        ("partition", "x_z", "partition='x_z': must be keys"),
        ("score", 1.5, "score=1.5: must be keys"),
        ("data", "moons", "data: every run needs one"),
        ("model", 3, "model: every run needs one"),
        ("study", None, "study=None: must be keys"),
    ],
)
def test_another_kind_is_refused(key, value, fragment, plain, refused):
    with refused(fragment):
        check_config({**plain, key: value})


def test_a_missing_key_is_refused(plain, refused):
    with refused("callbacks=None"):
        check_config({key: value for key, value in plain.items() if key != "callbacks"})
    check_config({**plain, "logger": None})


def test_a_partition_without_a_side_is_refused(refused, config):
    from innflow.run.load import assemble

    del config["partition"]["right"]
    with refused("partition: ", "right"):
        assemble(config, {"x": (2,)})
