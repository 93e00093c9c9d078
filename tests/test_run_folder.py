"""A run folder of another account: it runs no code and reads and writes nothing elsewhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from test_safety import one_line, tamper
from tiny import TINY_VECTORS, train

import innflow
from innflow.errors import InnflowError
from innflow.run.checkpoint import read_checkpoint
from innflow.run.folder import check_links, is_own
from innflow.system.signature import KEY, cache_folder, is_signed, sign

SHORT = ("analysis=none", "score=none", "callbacks.progress=null")


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """Return a finished run, without analyses."""
    run_dir = tmp_path_factory.mktemp("written") / "run"
    train(run_dir, *TINY_VECTORS[:5], *SHORT)
    return run_dir


@pytest.fixture
def foreign(written, tmp_path) -> Path:
    """Return a copy of the run, in which anything may be changed."""
    return Path(shutil.copytree(written, tmp_path / "foreign"))


@pytest.fixture
def outside(tmp_path) -> Path:
    """Return a folder of the user that nothing may change."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "diary.txt").write_text("mine")
    return folder


def untouched(folder: Path) -> None:
    assert [path.name for path in folder.iterdir()] == ["diary.txt"]
    assert (folder / "diary.txt").read_text() == "mine"


def rewrite(run: Path, **leaves: object) -> None:
    """Change values of config.yaml by their keys, with __ for the dot."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    for key, value in leaves.items():
        *parents, last = key.split("__")
        node = config
        for name in parents:
            node = node.setdefault(name, {}) if node.get(name) is not None else node
        node[last] = value
    (run / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def resume(command: Callable, run: Path, *typed: str):
    return command("innflow-train", f"run_dir={run}", "ckpt=last", *typed)


IMAGES = {"_target_": "innflow.data.Images", "size": 8}
PLACES = {
    "checkpoints": {"callbacks__checkpoint__dirpath": "{outside}"},
    "last": {"callbacks__last__dirpath": "{outside}"},
    "relative": {"callbacks__last__dirpath": "../outside"},
    "name of a file": {"callbacks__checkpoint__filename": "../../outside/best"},
    "root of the trainer": {"trainer__default_root_dir": "{outside}"},
    "images": {"data": {**IMAGES, "root": "{outside}"}},
    "images of the current folder": {"data": {**IMAGES, "root": "photographs"}},
    "images of a home": {"data": {**IMAGES, "root": "~/photographs"}},
    "images of a bucket": {"data": {**IMAGES, "root": "s3://bucket/{outside}"}},
    "outliers": {"data": {**IMAGES, "root": "{run}", "outliers": {"a": "{outside}"}}},
    "table": {"data": {"_target_": "innflow.data.Table", "path": "table.csv"}},
    "pairs": {"data": {"_target_": "innflow.data.Pairs", "path": "t.csv", "x": ["a"], "y": ["b"]}},
    "shards": {"data": {"_target_": "innflow.data.Shards", "train": "pipe:id", "test": ["a.tar"]}},
    "weights": {
        "data": {"_target_": "innflow.data.Embeddings", "root": None, "weights": "w.pt"},
    },
    "companion": {"companions__general": "companion"},
    "tensorboard": {
        "logger__a": {
            "_target_": "pytorch_lightning.loggers.TensorBoardLogger",
            "save_dir": "{run}",
            "name": "../outside",
        }
    },
    "wandb": {
        "logger__a": {
            "_target_": "pytorch_lightning.loggers.WandbLogger",
            "save_dir": "{run}",
            "entity": "someone",
        }
    },
    "mlflow": {
        "logger__a": {
            "_target_": "pytorch_lightning.loggers.MLFlowLogger",
            "tracking_uri": "file:{run}/%2e%2e/outside",
        }
    },
}


@pytest.mark.representatives("checkpoints", "images of the current folder", "wandb")
@pytest.mark.parametrize("name", PLACES)
def test_a_place_outside_is_refused(name, command, foreign, outside):
    def fill(value):
        if isinstance(value, dict):
            return {key: fill(item) for key, item in value.items()}
        return value.format(outside=outside, run=foreign) if isinstance(value, str) else value

    rewrite(foreign, **fill(PLACES[name]))
    before = {path: path.read_bytes() for path in foreign.rglob("*") if path.is_file()}
    answer = resume(command, foreign)
    one_line(answer, str(foreign), "not written by this account")
    assert {p: p.read_bytes() for p in foreign.rglob("*") if p.is_file()} == before
    untouched(outside)


@pytest.mark.representatives("callbacks.last.dirpath")
@pytest.mark.parametrize("key", ["callbacks.last.dirpath", "paths.data", "+data.root"])
def test_a_place_in_a_stored_override_is_refused(key, command, foreign, outside):
    path = foreign / "overrides.yaml"
    path.write_text(yaml.safe_dump([*yaml.safe_load(path.read_text()), f"{key}={outside}"]))
    one_line(resume(command, foreign), str(foreign), str(outside))
    untouched(outside)


STORED = [
    r"name=$\{oc.env:HOME\}",
    "+logger@hydra.callbacks=csv",
    "+experiment=../../../../../../../../../../../../{here}/evil",
    "logger=[csv,../../../../../../../../../../../../{here}/evil]",
    "+experiment=/{here}/evil",
]


@pytest.mark.parametrize("stored", STORED)
def test_a_stored_override_leaves_the_configs_of_innflow(stored, command, foreign):
    mark = Path("made").absolute()
    evil = {"hydra": {"callbacks": {"evil": {"_target_": "os.mkdir", "path": str(mark)}}}}
    Path("evil.yaml").write_text("# @package _global_\n" + yaml.safe_dump(evil))
    stored = stored.replace("{here}", str(Path.cwd()).lstrip("/"))
    path = foreign / "overrides.yaml"
    path.write_text(yaml.safe_dump([*yaml.safe_load(path.read_text()), stored]))
    before = path.read_text()
    one_line(resume(command, foreign), "overrides.yaml", "remove the line")
    assert path.read_text() == before
    assert not mark.exists()


def test_a_resumed_run_is_no_sweep(command, foreign, outside):
    path = foreign / "overrides.yaml"
    path.write_text(yaml.safe_dump([*yaml.safe_load(path.read_text()), "name=../../outside/x"]))
    one_line(resume(command, foreign, "-m"), "not a sweep")
    untouched(outside)


def test_a_run_of_this_account_goes_on_without_confirmation(command):
    """A run that was moved too; with another key the same folder is that of somebody else."""
    points = Path("points.csv").absolute()
    points.write_text("a,b\n" + "".join(f"{i % 7},{i % 5}\n" for i in range(60)))
    table = ("data=table", f"data.path={points}", "data.batch_size=8", "+debug=fdr", *SHORT)
    train(Path("run").absolute(), *table, "model.depth=1")
    Path("run").rename("moved")
    again = resume(command, Path("moved"), "trainer.max_steps=3")
    assert again.code == 0, again.err
    (cache_folder() / KEY).unlink()
    assert not is_own(Path("moved"))
    one_line(resume(command, Path("moved")), f"add data.path={points}")
    one_line(command("innflow-eval", "run=moved"), f"add data.path={points}")
    answer = command("innflow-eval", "run=moved", f"data.path={points}", "out=tested")
    assert answer.code == 0, answer.err
    typed = resume(command, Path("moved"), f"data.path={points}", "trainer.max_steps=4")
    assert typed.code == 0, typed.err
    assert is_own(Path("moved"))


def test_a_key_that_others_can_read_signs_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("INNFLOW_CACHE", str(tmp_path))
    signature = sign({"a": 1})
    assert is_signed(signature, {"a": 1})
    assert not is_signed(signature, {"a": 2})
    assert not is_signed(None, {"a": 1})
    (tmp_path / KEY).chmod(0o644)
    assert sign({"a": 1}) is None
    assert not is_signed(signature, {"a": 1})


IDENTITIES = [
    {"a": {"_target_": "os.mkdir", "path": "made"}},
    {"a": {"dir": "/tmp"}},
    {"a": {"run_id": "../../outside"}},
    {"a": {"id": 3}},
    {"a": "text"},
    ["a"],
    3,
]


@pytest.mark.parametrize("content", IDENTITIES, ids=str)
def test_an_identity_on_a_dashboard_is_no_argument_of_another_kind(content, tmp_path, refused):
    from innflow.dashboard import open_dashboards

    node = {
        "_target_": "pytorch_lightning.loggers.MLFlowLogger",
        "experiment_name": "a",
    }
    (tmp_path / "dashboard.json").write_text(json.dumps(content))
    with refused(str(tmp_path / "dashboard.json"), "no identity"):
        open_dashboards({"name": "moons", "logger": {"a": node}}, tmp_path)
    assert not Path("made").exists()


LINKS = (".lock", "metrics.csv", "checkpoints", "figures", "samples", "mlruns/0/metrics")


@pytest.mark.parametrize("name", LINKS)
def test_a_link_out_of_a_run_folder_is_refused(name, foreign, outside, refused):
    path = foreign / name
    path.parent.mkdir(exist_ok=True, parents=True)
    if path.is_dir():
        shutil.move(path, foreign / "old")
    path.unlink(missing_ok=True)
    path.symlink_to(outside if "." not in name else outside / "diary.txt")
    with refused(str(path), "link"):
        check_links(foreign)


@pytest.mark.representatives("innflow-train")
@pytest.mark.parametrize("name", ["innflow-train", "innflow-sample", "innflow-eval"])
def test_no_command_writes_through_a_link(name, command, foreign, outside):
    for each in (".lock", "samples", "eval"):
        (foreign / each).unlink(missing_ok=True)
        (foreign / each).symlink_to(outside / "diary.txt" if each == ".lock" else outside)
    given = ["ckpt=last"] if name == "innflow-train" else []
    key = "run_dir" if name == "innflow-train" else "run"
    one_line(command(name, f"{key}={foreign}", *given), "link")
    untouched(outside)


def test_links_inside_of_a_run_folder_stay(foreign, tmp_path):
    (foreign / "newest").symlink_to("checkpoints/best.ckpt")
    (foreign / "wandb").mkdir()
    (foreign / "wandb/debug.log").symlink_to("/var/log/debug.log")
    check_links(foreign)


@pytest.mark.representatives("best_k_models")
@pytest.mark.parametrize("place", ["best_k_models", "best_model_path", "last_model_path"])
def test_the_state_of_a_callback_deletes_no_file(place, command, foreign, outside):
    def plant(checkpoint):
        for name, state in checkpoint["callbacks"].items():
            if name.startswith("ModelCheckpoint"):
                file = str(outside / "diary.txt")
                state[place] = {file: torch.tensor(9e9)} if place == "best_k_models" else file

    tamper(foreign, plant, "last")
    one_line(resume(command, foreign, "trainer.max_steps=4"), "diary.txt", "elsewhere")
    untouched(outside)


def test_an_exported_function_is_no_data(command, foreign, outside):
    node = {"_target_": "innflow.data.write_shards", "folder": str(outside), "out": str(outside)}
    tamper(foreign, lambda checkpoint: checkpoint["innflow"]["config"].update(data=node))
    one_line(command("innflow-eval", f"run={foreign}"), "write_shards", "trust=True")
    untouched(outside)


def test_a_removed_secret_is_not_filled_by_the_folder(command, foreign, monkeypatch):
    monkeypatch.setenv("TRACKING_PASSWORD", "hush-hush-hush")
    target = "pytorch_lightning.loggers.MLFlowLogger"
    uri = "http://user:SECRET-REMOVED@localhost:1/${oc.env:TRACKING_PASSWORD}"
    rewrite(foreign, logger__a={"_target_": target, "tracking_uri": uri})
    one_line(resume(command, foreign), "not resolved")
    rewrite(foreign, logger__a={"_target_": target, "tracking_uri": uri.partition("/${")[0]})
    answer = resume(command, foreign)
    one_line(answer, "logger.a.tracking_uri")
    assert "hush" not in answer.err


def test_a_report_of_a_sweep_follows_no_link(tmp_path, outside, refused):
    from innflow.run.report.sweep_report import report

    (tmp_path / "sweep/0").mkdir(parents=True)
    (tmp_path / "sweep/0/overrides.yaml").symlink_to(outside / "diary.txt")
    with refused("link"):
        report({"dir": str(tmp_path / "sweep"), "metric": None, "mode": None}, [])


SWEEP_FILES = {
    "metrics.json": ["[1]", '{"val/nll": "x"}', '{"val/nll": [1]}', "{", "[" * 100_000],
    "failed.json": ["[1]", "3", "{}", '{"state": 1, "reason": [], "overrides": 3}'],
    "overrides.yaml": ["3", "{a: b}", "- {a: b}", "- 3", "!!python/name:os.system"],
    "config.yaml": ["3", "[a]", "callbacks: 3", "callbacks: {checkpoint: [1]}"],
    "metrics.csv": ["val/nll\nx\n", "\x00", "val/nll\n1,2,3\n"],
}


def test_a_report_of_a_sweep_takes_any_content(foreign, tmp_path):
    from innflow.run.report.sweep_report import report

    arguments = {"dir": str(tmp_path), "metric": None, "mode": None}
    for name, contents in SWEEP_FILES.items():
        before = (foreign / name).read_text() if (foreign / name).is_file() else None
        for content in contents:
            (foreign / name).write_text(content)
            line = ""
            try:
                report(arguments, [])
            except InnflowError as error:
                line = str(error)
            except Exception as error:
                raise AssertionError(f"{name}: {content[:40]}") from error
            assert "\n" not in line
        if before is None:
            (foreign / name).unlink()
        else:
            (foreign / name).write_text(before)


def test_a_file_that_holds_itself_is_refused(foreign, command):
    laugh = "\n".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))
    (foreign / "config.yaml").write_text("a0: &a0 [x]\n" + laugh)
    one_line(resume(command, foreign), "config.yaml", "not readable")
    (foreign / "dashboard.json").write_text("[" * 100_000)
    shutil.rmtree(foreign / "checkpoints")


def test_a_checkpoint_that_holds_itself_is_refused(foreign, refused):
    def plant(checkpoint):
        config = checkpoint["innflow"]["config"]
        config["again"] = config

    tamper(foreign, plant)
    with refused("best.ckpt", "levels"):
        read_checkpoint(foreign / "checkpoints/best.ckpt")
    with refused("best.ckpt"):
        innflow.load(foreign)
