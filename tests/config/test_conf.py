"""Every config composes, passes its check and builds its objects."""

from __future__ import annotations

import inspect
import re
from copy import deepcopy
from functools import cache
from importlib import import_module
from pathlib import Path

import innflow.conf
import pytest
import torch
from hydra.utils import get_object

from innflow.command.evaluate import GROUPS
from innflow.config.build import build, compose_config, to_plain
from innflow.config.resolvers import register_resolvers
from innflow.config.schema import check, nodes
from innflow.config.trust import (
    DATA_PACKAGES,
    MODEL_PACKAGES,
    check_trusted,
    check_version,
    is_exported,
)
from innflow.flow import CouplingFlow
from innflow.run.load import MODEL, assemble

CONF = Path(innflow.conf.__file__).parent
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
OPTIONS = sorted(
    (path.parent.name, path.stem)
    for path in CONF.glob("*/*.yaml")
    if path.parent.name not in ("experiment", "debug", "command")
)
# Parameters that whoever calls a partial gives.
BY_CODE = {"shape", "features", "flow", "partition", "latent", "objective", "optimizer", "schedule"}
BY_CODE |= {"args", "kwargs", "context", "missing", "trials"}
# What an option needs beside itself: its files, or a model of its own data.
NEEDS = {
    "model/surrogate": ("model.observed=1",),
    "data/table": ("data.path={table}",),
    "embedding/parts": ("embedding.parts={{a: [2]}}",),
    "latent/class_mixture": ("latent.y.classes=3",),
    "latent/one_hot": ("latent.y.classes=3",),
    "data/simulator": (
        "data.prior=innflow.problem.two_moons.prior",
        "data.forward=innflow.problem.two_moons.forward",
    ),
    "data/ood_tabular": ("data.path={table}", "data.outliers={table}"),
    "data/pairs": ("data.path={table}", "data.x=[a]", "data.y=[b]"),
}


@pytest.fixture(scope="module")
def composed(tmp_path_factory):
    """Return the plain config of overrides, composed once, as a run in a folder would have it."""
    folder = tmp_path_factory.mktemp("composed")
    register_resolvers()
    table = folder / "table.csv"
    table.write_text("a,b\n" + "".join(f"{i}.5,{i * i}\n" for i in range(20)))

    @cache
    def plain(*overrides: str) -> dict:
        named = [text.format(table=table) for text in overrides]
        return to_plain(compose_config("train", [*named, f"run_dir={folder / 'run'}"]))

    return plain


@pytest.fixture
def compose(composed, monkeypatch):
    """Return a function from overrides to their plain config, a copy of its own."""
    monkeypatch.setenv("INNFLOW_STAMP", "now")
    return lambda *overrides: deepcopy(composed(*overrides))


@pytest.mark.extended  # experiments pass through most of them
@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_passes_the_check_and_shows_all_there_is_to_choose(group, option, compose):
    """The keys are the parameters of the target, so that `--cfg job` is the reference."""
    place = {"subnet": "subnet@model.subnet", "extra": "+extra"}.get(group, group)
    config = compose(f"{place}={option}", *NEEDS.get(f"{group}/{option}", ()))
    check(config)
    if group == "strategy":
        assert config["trainer"]["strategy"] == option
    place = "callbacks" if group == "extra" else group
    for path, node in nodes(config.get(place) or {}, place):
        if not node["_target_"].startswith("innflow."):
            continue
        parameters = inspect.signature(get_object(node["_target_"])).parameters
        needed = set(parameters) - (BY_CODE if node.get("_partial_") else set())
        if path == "model.subnet":
            needed = set()  # the builder hands over all sizes
        if path == "analysis.roundtrip":
            needed.discard("shown")  # how many images, where there are any
        keys = {key for key in node if not key.startswith("_")}
        assert keys <= set(parameters), path
        assert keys >= needed, f"{path} lacks {needed - keys}"


@pytest.mark.parametrize("debug", sorted(path.stem for path in (CONF / "debug").glob("*.yaml")))
def test_every_debug_option_composes(debug, compose):
    plain = compose("+experiment=cats_ood")
    config = compose("+experiment=cats_ood", f"+debug={debug}")
    check(config)
    assert config["trainer"] != plain["trainer"]


def test_extras_add_up():
    """They leave what is there, checkpoints and guard among it."""
    plain = compose_config("train")["callbacks"]
    both = compose_config("train", ["+extra=[ema,find_lr]"])["callbacks"]
    assert set(both) == {*plain, "ema", "find_lr"}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_builds_its_application(experiment, compose):
    config = compose(f"+experiment={experiment}", *NEEDS.get(f"data/{experiment}", ()))
    check(config)
    assert config["name"] == experiment
    data = build(config["data"], "data")
    app = assemble(config, data.shapes)
    assert app.shape == data.shape
    if config["score"]:
        assert build(config["score"], "score").headline == config["score"]["headline"]
    assert build(config["analysis"], "analysis")


def test_every_target_of_innflow_is_an_exported_name():
    """So that a module can move within its package without changing configs and checkpoints."""
    targets = {
        name
        for path in CONF.rglob("*.yaml")
        for name in re.findall(r"_target_: *['\"]?([\w.]+)", path.read_text())
        if name.startswith("innflow")
    }
    assert len(targets) > 90
    for name in targets:
        package, _, public = name.rpartition(".")
        assert package.count(".") == 1, name
        assert public in import_module(package).__all__, name
        assert is_exported(name), name


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_a_checkpoint_of_every_experiment_names_only_exported_names(experiment, compose):
    config = compose(f"+experiment={experiment}", *NEEDS.get(f"data/{experiment}", ()))
    check_trusted({name: config[name] for name in MODEL}, "best.ckpt")
    check_trusted({name: config[name] for name in GROUPS}, "best.ckpt", data=True)
    check_version(config, "config.yaml")
    for path, node in nodes(config):
        if path.split(".")[0] in (*MODEL, *GROUPS) and node["_target_"].startswith("innflow"):
            assert is_exported(node["_target_"], (*MODEL_PACKAGES, *DATA_PACKAGES)), path


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_header_of_an_experiment_has_question_command_and_expectation(experiment, compose):
    text = (CONF / "experiment" / f"{experiment}.yaml").read_text()
    for word in ("# Question:", "# Run:", "# Expect:"):
        assert word in text
    command = re.search(r"innflow-train (.*?)(?:   .*)?$", text, re.MULTILINE)
    assert command is not None
    arguments = [word.replace("=DIR", "=/pictures") for word in command[1].split()]
    assert arguments[0] == f"+experiment={experiment}"
    check(compose(*arguments))


SHAPES = {
    "posterior": [(2,), (5,)],
    "vector": [(2,), (5,)],
    "spline": [(2,), (5,)],
    "glow": [(3, 8, 8), (1, 16, 16)],
    "realnvp": [(3, 8, 8), (1, 16, 16)],
    "realnvp_flat": [(3, 8, 8), (1, 5, 5)],
    "masked": [(1, 7, 7), (3, 8, 8)],
    "glow_dense": [(1, 8, 8), (3, 4, 4)],
    "glow_patches": [(3, 8, 8), (1, 16, 8)],
    "maps": [(6, 5, 4), (8, 2, 3)],
    "surrogate": [(4,), (7,)],
    "jet": [(3, 8, 8), (1, 16, 8)],
    "jet_base": [(3, 8, 8)],
    "jet_large": [(3, 8, 8)],
}
IMAGE_NETWORKS = ("glow", "realnvp", "masked", "glow_patches", "maps")
IMAGE_NETWORKS += ("jet", "jet_base", "jet_large")


def test_every_model_is_built_below():
    assert set(SHAPES) == {path.stem for path in (CONF / "model").glob("*.yaml")}


@pytest.mark.parametrize("model", SHAPES)
def test_every_model_goes_there_and_back(model, compose):
    smaller = ["model.hidden=8"] if model in IMAGE_NETWORKS else ["model.hidden=[16]"]
    smaller += ["model.observed=2"] if model == "surrogate" else []
    make = build(compose(f"model={model}", *smaller)["model"], "model")
    for shape in SHAPES[model]:
        check_there_and_back(make(shape), shape)


def check_there_and_back(flow: CouplingFlow, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in flow.parameters():  # away from the identity
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    x = torch.randn(4, *shape, generator=generator)
    flow.eval()
    with torch.no_grad():
        z, logabsdet = flow(x)
        back, logabsdet_back = flow.inverse(z)
    assert z.shape == (4, x[0].numel())
    assert not torch.allclose(z, x.flatten(1), atol=0.05)
    assert (back - x).abs().max() < 1e-4
    assert (logabsdet + logabsdet_back).abs().max() < 1e-3


def test_comments_stand_on_every_option():
    """Each file says in a line what it is, unless its one key does."""
    for group, option in OPTIONS:
        if group in ("subnet", "schedule", "optimizer", "strategy", "paths", "logger", "trainer"):
            continue
        first = (CONF / group / f"{option}.yaml").read_text().splitlines()[0]
        assert first.startswith("# "), f"{group}/{option}.yaml"
