"""Offline runs: what the reader of each dashboard finds equals the run folder."""

from __future__ import annotations

import csv
import json
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from tiny import TINY_IMAGES, TINY_MOONS, train

from innflow.dashboard.naming import name_run

MOONS = (*TINY_MOONS, "analysis=none")
RESUMABLE = (*MOONS, "logger=[wandb,mlflow]", "data.batch_size=200")  # two steps an epoch


@pytest.fixture(scope="module", autouse=True)
def _offline(tmp_path_factory) -> Iterator[None]:
    """Remove keys and the home folder, so that nothing is written outside the test's folder."""
    home = tmp_path_factory.mktemp("home")
    values = dict.fromkeys(("HOME", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"), home)
    values["NETRC"] = home / "netrc"
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("WANDB_", "MLFLOW_"))]:
            patch.delenv(name)
        for name, value in values.items():
            patch.setenv(name, str(value))
        yield


class Offline(NamedTuple):
    """Content of the transaction log of an offline W&B run."""

    id: str
    name: str
    group: str
    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    exit_code: int | None


def read_wandb(folder: Path) -> Offline:
    """Read the .wandb file of a finished run, which another process may still be writing."""
    import wandb

    (path,) = folder.glob("*.wandb")
    found = parse_log(path.read_bytes())
    if found is None or found.exit_code is None:
        wandb.teardown()  # returns when the process that writes the file has ended
        found = parse_log(path.read_bytes())
    assert found is not None, f"{path} has no record of its run"
    assert found.exit_code is not None, f"{path} has no exit record"
    return found


def parse_log(data: bytes) -> Offline | None:
    """Parse blocks of 32 KiB with chunks of protobuf records; None before the run's record."""
    from wandb.proto import wandb_internal_pb2

    place, pending = 7, b""
    assert data[:4] in (b":W&B", b"")
    run, exit_code = None, None
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    history: list[dict[str, Any]] = []

    def put(target: dict[str, Any], items: Any) -> None:
        for item in items:
            *where, last = item.nested_key or [item.key]
            inner = target
            for key in where:
                inner = inner.setdefault(key, {})
            inner[last] = json.loads(item.value_json)

    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, size, kind = struct.unpack_from("<IHB", data, place)
        if place + 7 + size > len(data):
            break
        pending += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind not in (1, 4):  # the whole of a record, or its last chunk
            continue
        record = wandb_internal_pb2.Record.FromString(pending)
        pending = b""
        match record.WhichOneof("record_type"):
            case "run":
                run = record.run
                put(config, run.config.update)
            case "config":
                put(config, record.config.update)
            case "summary":
                put(summary, record.summary.update)
            case "history":
                history.append({})
                put(history[-1], record.history.item)
            case "exit":
                exit_code = record.exit.exit_code
    if run is None:
        return None
    return Offline(run.run_id, run.display_name, run.run_group, config, history, summary, exit_code)


def offline_folders(run_dir: Path) -> list[Path]:
    return sorted((run_dir / "wandb").glob("offline-run-*"))


def values(history: list[dict[str, Any]], key: str) -> list[Any]:
    return [row[key] for row in history if key in row]


def figures_of(run_dir: Path) -> set[str]:
    return {f"figures/{path.stem}" for path in (run_dir / "figures").glob("*.png")}


@pytest.fixture(scope="module")
def images(photographs, tmp_path_factory) -> Path:
    """Return a finished run on tiny images, with scores, on all three dashboards."""
    folder = tmp_path_factory.mktemp("many")
    cache = f"data.cache_dir={folder / 'cache'}"
    train(folder / "run", *TINY_IMAGES, f"data.root={photographs}", cache, "logger=many")
    return folder / "run"


@pytest.fixture(scope="module")
def logged(images) -> Offline:
    (folder,) = offline_folders(images)
    return read_wandb(folder)


# --- Weights & Biases


def test_wandb_has_the_numbers_of_training_and_of_the_end(images, logged):
    with (images / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["train/nll"]]
    assert values(logged.history, "train/nll") == [float(row["train/nll"]) for row in rows]
    assert values(logged.history, "val/nll")
    metrics = json.loads((images / "metrics.json").read_text())
    assert {key: logged.summary[key] for key in metrics} == pytest.approx(metrics)
    assert all("trainer/global_step" in row for row in logged.history)
    assert logged.exit_code == 0


def test_wandb_has_the_hyperparameters(images, logged):
    config = {key: value for key, value in logged.config.items() if key != "_wandb"}
    assert config == yaml.safe_load((images / "config.yaml").read_text())


def test_wandb_has_every_figure_and_the_samples_of_training(images, logged):
    sent = {key for row in logged.history for key in row if key.startswith("figures/")}
    assert sent == figures_of(images)
    assert {f"figures/{name}" for name in ("scores_roc", "latent_cloud_pca")} <= sent
    (folder,) = offline_folders(images)
    for key in sent:
        (entry,) = values(logged.history, key)
        assert (folder / "files" / entry["path"]).stat().st_size > 1000
        assert entry["caption"]
    (during,) = values(logged.history, "pictures/samples")
    assert (folder / "files" / during["path"]).is_file()


def test_wandb_has_a_row_per_image(images, logged):
    (folder,) = offline_folders(images)
    (entry,) = values(logged.history, "tables/items")
    table = json.loads((folder / "files" / entry["path"]).read_text())
    with (images / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert table["columns"] == list(rows[0])
    assert len(table["data"]) == len(rows)
    scores = [row[table["columns"].index("score")] for row in table["data"]]
    assert scores == sorted((float(row["score"]) for row in rows), reverse=True)
    assert {row[0] for row in table["data"]} == {row["path"] for row in rows}
    assert values(logged.history, "tables/scores_1")


def test_a_resumed_run_keeps_its_id_and_name(tmp_path):
    """On W&B and MLflow alike."""
    train(tmp_path / "run", *RESUMABLE)
    begun = run_of(tmp_path / "run")
    train(tmp_path / "run", *RESUMABLE, "trainer.max_steps=4", "trainer.max_epochs=2", "ckpt=last")
    first, second = map(read_wandb, offline_folders(tmp_path / "run"))
    assert second.id == first.id
    assert (first.name.split()[-1], first.group) == ("batch_size=200", "moons")
    assert (second.name, second.group) == (first.name, first.group)
    steps = [row["trainer/global_step"] for row in first.history if "train/nll" in row]
    more = [row["trainer/global_step"] for row in second.history if "train/nll" in row]
    assert (steps, more) == ([0, 1], [2, 3])
    assert json.loads((tmp_path / "run/dashboard.json").read_text())["wandb"]["id"] == first.id

    again = run_of(tmp_path / "run")
    assert again.info.run_id == begun.info.run_id
    history = client_of(tmp_path / "run").get_metric_history(again.info.run_id, "train/nll")
    assert [each.step for each in history] == [0, 1, 2, 3]


@pytest.mark.extended
def test_runs_have_their_own_ids_and_failed_ones_are_marked(tmp_path, refused, monkeypatch):
    ids = []
    for name in ("a", "b"):
        with monkeypatch.context() as patch, refused("broken"):
            patch.setattr("innflow.run.train.run_analyses", broken)
            train(tmp_path / name, *MOONS, "logger=[wandb,mlflow]")
        (folder,) = offline_folders(tmp_path / name)
        read = read_wandb(folder)
        assert read.exit_code == 1
        ids.append(read.id)
        assert run_of(tmp_path / name).info.status == "FAILED"
    assert ids[0] != ids[1]


def broken(*args: Any) -> None:
    from innflow.errors import InnflowError

    raise InnflowError("broken on purpose")


@pytest.mark.extended
def test_a_sweep_is_a_group_and_its_jobs_have_their_overrides_as_names(command):
    answer = command(
        *("innflow-train", "-m", *TINY_MOONS, "analysis=none", "logger=wandb", "seed=1,2"),
    )
    assert answer.code == 0, answer.err
    (sweep,) = Path("multirun/moons").iterdir()
    runs = [read_wandb(offline_folders(sweep / job)[0]) for job in ("0", "1")]
    assert {run.group for run in runs} == {f"moons/{sweep.name}"}
    assert [run.name.split()[-1] for run in runs] == ["seed=1", "seed=2"]
    assert runs[0].id != runs[1].id


def test_wandb_online_without_a_key_is_one_line(tmp_path, refused):
    with refused("logger.wandb.offline=false", "no W&B key", "WANDB_API_KEY"):
        train(tmp_path / "run", *MOONS, "logger=wandb", "logger.wandb.offline=false")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "sweep", "name", "group"),
    [
        ([], None, "moons", "moons"),
        (
            ["+experiment=moons", "run_dir=/a/b", "logger=wandb", "ckpt=last"],
            None,
            "moons",
            "moons",
        ),
        (["model.depth=4", "seed=1"], "moons/now", "depth=4 seed=1", "moons/now"),
        (["data.n=4", "a.b.n=5", "~x"], None, "data.n=4 b.n=5", "moons"),
        (["data.root=/very/long/path/to/cats/"], None, "root=cats", "moons"),
        (["data.root=https://me:hunter22@host/"], None, "root=SECRET-REMOVED@host", "moons"),
        ([f"data.x={'a' * 40}"], None, f"x={'a' * 23}…", "moons"),
    ],
)
def test_names_are_the_overrides(overrides, sweep, name, group):
    assert name_run("moons", overrides, sweep) == (name, group)


# --- TensorBoard


@pytest.fixture(scope="module")
def events(images) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sizes = {"images": 0, "scalars": 0, "tensors": 0}
    return EventAccumulator(str(images / "tensorboard"), size_guidance=sizes).Reload()


def test_tensorboard_has_numbers_and_pictures(images, events):
    tags = events.Tags()
    assert {*figures_of(images), "pictures/samples"} == set(tags["images"])
    metrics = json.loads((images / "metrics.json").read_text())
    assert metrics.keys() <= set(tags["scalars"])
    assert [each.step for each in events.Scalars("train/nll")] == [0, 1]
    (final,) = events.Scalars("test/bpd")
    assert final.step == 2
    assert final.value == pytest.approx(metrics["test/bpd"])
    (picture,) = events.Images("figures/scores_roc")
    assert min(picture.width, picture.height) > 100
    (table,) = events.Tensors("tables/items/text_summary")
    assert b"| path | score |" in table.tensor_proto.string_val[0]


def test_tensorboard_has_the_hyperparameters(events):
    from tensorboard.plugins.hparams import metadata

    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    started = metadata.parse_session_start_info_plugin_data(content)
    assert started.hparams["model/depth"].number_value == 1
    content = events.SummaryMetadata("_hparams_/experiment").plugin_data.content
    experiment = metadata.parse_experiment_plugin_data(content)
    assert "test/bpd" in {info.name.tag for info in experiment.metric_infos}


# --- MLflow


def client_of(run_dir: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(f"file:{run_dir / 'mlruns'}")


def run_of(run_dir: Path) -> Any:
    client = client_of(run_dir)
    (run,) = client.search_runs([each.experiment_id for each in client.search_experiments()])
    return run


def listed(client: Any, run_id: str, folder: str | None = None) -> set[str]:
    found = set()
    for entry in client.list_artifacts(run_id, folder):
        found |= listed(client, run_id, entry.path) if entry.is_dir else {entry.path}
    return found


def test_mlflow_has_metrics_figures_and_tables(images):
    client, run = client_of(images), run_of(images)
    assert run.info.status == "FINISHED"
    assert run.data.tags["group"] == "cats_ood"
    assert run.data.params["model/depth"] == "1"
    metrics = json.loads((images / "metrics.json").read_text())
    assert {key: run.data.metrics[key] for key in metrics} == pytest.approx(metrics)
    assert [each.step for each in client.get_metric_history(run.info.run_id, "train/nll")] == [0, 1]
    files = listed(client, run.info.run_id)
    assert {f"{key}.png" for key in figures_of(images)} <= files
    assert "pictures/samples/00000002.png" in files
    assert "config.yaml" in files
    items = Path(client.download_artifacts(run.info.run_id, "tables/items.csv", str(images.parent)))
    with items.open(newline="") as file, (images / "scores.csv").open(newline="") as own:
        sent, rows = list(csv.DictReader(file)), list(csv.DictReader(own))
    assert {row["path"]: float(row["score"]) for row in sent} == {
        row["path"]: float(row["score"]) for row in rows
    }


def test_an_mlflow_server_that_does_not_answer_is_one_line(tmp_path, refused):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    uri = f"http://me:hunter22@127.0.0.1:{port}"
    with refused(f"tracking_uri=http://SECRET-REMOVED@127.0.0.1:{port}", "cannot be reached"):
        train(tmp_path / "run", *MOONS, "logger=mlflow", f"logger.mlflow.tracking_uri={uri}")
    assert list(tmp_path.iterdir()) == []


# --- pictures of training, in the plane


def test_moons_show_samples_and_latent_vectors(tmp_path):
    train(tmp_path / "run", *MOONS, "logger=tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tags = EventAccumulator(str(tmp_path / "run/tensorboard")).Reload().Tags()["images"]
    assert {"pictures/samples", "pictures/latent"} <= set(tags)
