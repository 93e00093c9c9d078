from __future__ import annotations

import math
import os

import pytest
from omegaconf import OmegaConf

from innflow.config.build import as_config, build, compose_config, refusals, to_plain
from innflow.config.message import one_line
from innflow.config.resolvers import STAMP, lightning_precision, register_resolvers, stamp
from innflow.config.schema import check, nodes
from innflow.config.trust import check_trusted
from innflow.errors import InnflowError
from innflow.flow import Spline


def node(target: str, **arguments):
    return {"_target_": target, **arguments}


TRAINER = "pytorch_lightning.Trainer"


def test_nodes_are_found_at_every_depth():
    config = {"a": node("x", b=[node("y"), {"c": node("z")}]), "d": 3}
    assert [(path, n["_target_"]) for path, n in nodes(config)] == [
        ("a", "x"),
        ("a.b[0]", "y"),
        ("a.b[1].c", "z"),
    ]


def test_a_right_config_passes(config):
    check(config)


@pytest.mark.parametrize(
    ("key", "value", "fragments"),
    [
        # unknown keys
        ("model.dept", 3, ("model.dept=3 is unknown", "innflow.flow.vector has", "depth")),
        ("model.coupling.bin", 3, ("model.coupling.bin=3 is unknown", "has bins, tail")),
        ("optimizer.learning_rate", 1.0, ("optimizer.learning_rate=1.0 is unknown", "lr")),
        ("schedule.warm", 0.1, ("schedule.warm=0.1", "has warmup, final")),
        ("objective.weight", {"nll": 1}, ("objective.weight", "has terms, weights")),
        # wrong types
        ("model.depth", "deep", ("model.depth='deep'", "valid integer", "depth: int")),
        ("model.depth", 2.5, ("model.depth=2.5", "valid integer")),
        ("model.depth", None, ("model.depth=None", "valid integer")),
        ("model.hidden", 64, ("model.hidden=64",)),
        ("model.coupling.tail", "wide", ("model.coupling.tail='wide'", "valid number")),
        ("schedule.warmup", [1], ("schedule.warmup=[1]", "valid number")),
        ("optimizer.lr", "fast", ("optimizer.lr='fast'", "valid number")),
        ("objective.weights", 3, ("objective.weights=3",)),
        # out of range
        ("couplings", node("innflow.analysis.Couplings", shown=0), ("couplings.shown=0", "than 0")),
        ("batches", node("innflow.analysis.Batches", sizes=[]), ("batches.sizes=[]", "at least 1")),
        ("batches", node("innflow.analysis.Batches", sizes=[0]), ("batches.sizes=[0]", "than 0")),
        ("batches", node("innflow.analysis.Batches", alpha=1.0), ("batches.alpha=1.0", "than 1")),
        ("trainer", node(TRAINER, gradient_clip_val=-1), ("gradient_clip_val=-1", "or equal to 0")),
        ("trainer", node(TRAINER, gradient_clip_val=math.inf), ("gradient_clip_val=inf", "finite")),
        ("trainer", node(TRAINER, accumulate_grad_batches=0), ("accumulate_grad_batches=0",)),
        ("model.coupling.tail", math.nan, ("model.coupling.tail=nan: is not a number",)),
        # targets
        ("model._target_", "innflow.flow.vektor", ("model._target_=innflow.flow.vektor",)),
        ("model._target_", "no_such_package.flow", ("model._target_=no_such_package.flow",)),
        ("model._target_", "os.path", ("model._target_=os.path", "no class or function")),
        ("model._target_", "builtins.dict", ("model._target_=builtins.dict",)),
        ("model._target_", 3, ("model._target_=3",)),
    ],
)
def test_a_wrong_key_type_or_target_is_named(config, key, value, fragments, refused):
    cfg = OmegaConf.create(config)
    OmegaConf.update(cfg, key, value, force_add=True)
    with refused(*fragments):
        check(to_plain(cfg))


@pytest.mark.parametrize(
    ("path", "wrong", "fragments"),
    [
        ("coupling", node("innflow.flow.Spline", bins=1), ("bins=1",)),
        ("coupling", node("innflow.flow.Spline", bins=8, tail=-1.0), ("tail=-1.0",)),
        ("schedule", node("innflow.app.cosine", warmup=1.5), ("warmup=1.5", "[0, 1)")),
        ("schedule", node("innflow.app.cosine", final=2.0), ("final=2.0", "[0, 1]")),
        ("latent", {"z": node("innflow.latent.Normal", sigma=0)}, ("sigma=0",)),
        ("objective", node("innflow.objective.Objective", weights={"nl": 1}), ("weights for nl",)),
        ("net", node("torch.nn.Linear", in_features=-1, out_features=2), ("net:", "negative")),
        ("net", node("torch.nn.Linear", in_features=1), ("net:", "out_features")),
    ],
)
def test_a_value_out_of_range_is_one_line(path, wrong, fragments, refused):
    with refused(*fragments):
        build(wrong, path)


def test_build_makes_the_object_with_plain_arguments():
    assert build(node("innflow.flow.Spline", bins=5), "coupling") == Spline(bins=5)
    make = build(node("innflow.flow.vector", _partial_=True, hidden=[4, 4]), "model")
    assert type(make.keywords["hidden"]) is list
    assert make(3).features == 3


def test_refusals_keep_our_own_line_and_name_the_node_of_others(refused):
    with pytest.raises(InnflowError, match=r"^mine$"), refusals("model"):
        raise InnflowError("mine")
    with refused("model: a b"), refusals("model"):
        raise ValueError("a\n  b\n\nset HYDRA_FULL_ERROR=1 for more")


def test_one_line_of_an_error_without_words():
    assert one_line(KeyboardInterrupt()) == "KeyboardInterrupt"


HARMFUL = [
    "os.system",
    "subprocess.run",
    "subprocess.Popen",
    "builtins.eval",
    "builtins.exec",
    "shutil.rmtree",
    "pathlib.Path.touch",
    "pickle.loads",
    "torch.load",
    "torch.hub.load",
    "torch.nn.Module.load_state_dict",
    "torch.utils.cpp_extension.load_inline",
    "torchvision.datasets.utils.download_url",
    "torchvision.datasets.MNIST",
    "pytorch_lightning.Trainer",
    "innflow.command.main.train",
    "innflow.run.train.run",
    "innflow.run.load.load",
    "innflow.config.build.build",
    "innflow.system.file.atomic.write_text",
    "innflow.data.Images",
    "innflow.callback.MetricsCSV",
    "innflow.app.module.torch.load",
    "innflow.app.module.pl.Trainer",
    "innflow.flow.builder.image.partial",
    "innflow.app.module.torch.serialization.os.system",
    "innflow.app.Density.load_from_checkpoint",
    "innflow.partition.Partition",
    "innflow.score.Scorer.save",
    "innflow.score.Scorer.load",
    "innflow",
    "innflow.flow",
    "innflowers.flow.vector",
    "",
]


@pytest.mark.parametrize("target", HARMFUL)
def test_targets_that_a_file_may_not_name(target, refused):
    with refused("file.ckpt", f"_target_={target}", "trust=True"):
        check_trusted({"model": {"hidden": [{"net": node(target)}]}}, "file.ckpt")


@pytest.mark.parametrize(
    "target",
    [
        "innflow.app.Density",
        "innflow.app.Generation",
        "innflow.app.cosine",
        "innflow.flow.vector",
        "innflow.flow.Spline",
        "innflow.latent.StandardNormal",
        "innflow.objective.nll",
        "innflow.score.Scorer",
        "torch.nn.SiLU",
        "torch.optim.Adamax",
        "torch.optim.lr_scheduler.StepLR",
        "torchvision.models.ResNet",
    ],
)
def test_targets_that_a_file_may_name(target):
    check_trusted({"model": node(target)}, "file.ckpt")


@pytest.mark.parametrize(
    "value",
    [
        "${oc.create:{_target_: shutil.copyfile, src: a, dst: b}}",
        "${oc.env:HOME}",
        "${..command}",
        ["deep", {"er": "${oc.env:HOME}"}],
    ],
)
def test_interpolations_of_a_file_are_refused(value, refused):
    """Resolved on the way to the constructor, they would bring in what nobody has checked."""
    with refused("file.ckpt", "${", "not resolved"):
        check_trusted({"latent": node("innflow.latent.Normal", sigma=value)}, "file.ckpt")


def test_a_config_refuses_keys_that_it_does_not_have(config):
    cfg = as_config(config)
    cfg.model.depth = 5
    with pytest.raises(Exception, match="dept"):
        cfg.model.dept = 5


def test_stamp_is_the_same_in_this_process_and_its_children(monkeypatch):
    monkeypatch.delenv(STAMP, raising=False)
    register_resolvers()
    cfg = OmegaConf.create(
        {"a": "${stamp:}", "b": "${stamp:}", "p": "${lightning_precision:native}"}
    )
    assert cfg.a == cfg.b == os.environ[STAMP]
    assert cfg.p in ("32-true", "bf16-mixed")


def test_two_commands_of_one_second_have_two_stamps(monkeypatch):
    stamps = set()
    for _ in range(2):
        monkeypatch.delenv(STAMP, raising=False)
        stamps.add(stamp())
    assert len(stamps) == 2


def test_precision_is_named_as_lightning_does(refused):
    assert lightning_precision(32) == lightning_precision("32") == "32-true"
    assert lightning_precision("bf16") == "bf16-mixed"
    with refused("precision=16", "must be 32, bf16 or native"):
        lightning_precision(16)


@pytest.mark.parametrize(("precision", "fused"), [("32", True), ("bf16", False)])
def test_the_optimizer_is_fused_where_lightning_can_clip_it(precision, fused):
    register_resolvers()
    config = to_plain(compose_config("train", [f"precision={precision}", "run_dir=x"]))
    assert config["optimizer"]["fused"] is fused


def test_to_plain_resolves_everything():
    cfg = OmegaConf.create({"a": 2, "b": ["${a}", {"c": "${a}"}]})
    assert to_plain(cfg) == {"a": 2, "b": [2, {"c": 2}]}
    assert type(to_plain(cfg)["b"]) is list
