"""Secrets of every form and in every place are in no file that a run writes."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tiny import TINY_MOONS, train

from innflow.config.build import build
from innflow.system.secret import (
    REMOVED,
    Redacting,
    is_secret,
    redact,
    redact_override,
    refuse_revealed,
    refuse_typed,
)

WANDB = "0123456789abcdef0123456789abcdef01234567"
AWS = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
AWS_ID = "AKIAIOSFODNN7EXAMPLE"


@pytest.mark.parametrize(
    "key",
    [
        *("api_key", "apikey", "apiKey", "x-api-key", "secret", "client_secret", "password"),
        *("aws_secret_access_key", "secretAccessKey", "token", "AWS_SESSION_TOKEN", "private_key"),
        *("WANDB_API_KEY", "AWS_ACCESS_KEY_ID", "Authorization"),
    ],
)
def test_names_of_secrets(key):
    assert is_secret(key)


@pytest.mark.parametrize("key", ["tokens", "key", "val", "PWD", "secretary", "x_keys", "seed"])
def test_names_of_other_things(key):
    assert not is_secret(key)


@pytest.mark.parametrize(
    "text",
    [
        "+logger.wandb.api_key=hunter22",
        "data.storage.secret='hunter22'",
        "++logger.wandb.settings={api_key: hunter22, quiet: true}",
        "logger.mlflow.tracking_uri=http://user:hunter22@host:5000/path",
        "data.root=https://host/x?X-Amz-Date=1&X-Amz-Signature=hunter22&a=b",
        "data.root=https://token4567890hunter22@host/x",
        "data.a.password=${oc.env:PASSWORD,hunter22}",
    ],
)
def test_a_typed_secret_is_refused_and_not_repeated(text, refused):
    assert "hunter22" not in redact_override(text)
    key = text.partition("=")[0].lstrip("+")
    with refused(f"{key} holds a secret", "${oc.env:NAME}"):
        refuse_typed(["seed=1", text])
    with pytest.raises(Exception) as caught:  # noqa: PT011
        refuse_typed([text])
    assert "hunter22" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "+experiment=moons",
        "seed=1,2,3",
        "+logger.wandb.api_key=${oc.env:WANDB_API_KEY}",
        "logger.mlflow.tracking_uri='http://user:${oc.env:PASSWORD}@host'",
        "++logger.wandb.settings={api_key: '${oc.env:WANDB_API_KEY}'}",
        "data.token=null",
        "data.root=s3://bucket/a@b/c:d",
        "model.tokens=4",
        "--multirun",
    ],
)
def test_what_holds_no_secret_stays_as_it_is(text):
    assert redact_override(text) == text
    refuse_typed([text])


def test_what_the_shell_put_into_an_argument_is_refused(monkeypatch, refused):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", AWS)
    with refused("name holds a secret"):
        refuse_typed([f"name=my{AWS}"])


@pytest.mark.parametrize(
    "given",
    [
        ["name=x${oc.env:WANDB_API_KEY}"],
        ["run_dir=${oc.env:WANDB_API_KEY}/run"],
        ["paths.outputs=${oc.env:WANDB_API_KEY}"],
        ["seed=1,2", "name=x${oc.env:WANDB_API_KEY}", "-m"],
        ["data=table", "data.path=points.csv", "data.columns=['${oc.env:WANDB_API_KEY}']"],
    ],
    ids=str,
)
def test_an_interpolated_secret_is_no_name(given, command, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", WANDB)
    answer = command("innflow-train", *TINY_MOONS[1:2], *given)
    assert answer.code == 2
    assert "holds a secret" in answer.err
    assert len(answer.err.splitlines()) == 1
    assert WANDB not in answer.out + answer.err
    assert not [path for path in Path.cwd().rglob("*") if WANDB in str(path)]


def test_a_secret_under_its_key_or_in_an_address_is_no_name(monkeypatch, refused):
    monkeypatch.setenv("MLFLOW_PASSWORD", WANDB)
    config = {"logger": {"a": {"api_key": WANDB, "uri": f"http://user:{WANDB}@host"}}}
    refuse_revealed(config)
    with refused("logger.a.project: holds a secret"):
        refuse_revealed({"logger": {"a": {"project": f"a{WANDB}"}}})


def test_a_config_loses_its_secrets_and_nothing_else(monkeypatch):
    monkeypatch.setenv("MY_SERVICE_TOKEN", "planted-token")
    config = {
        "seed": 0,
        "data": {"root": "s3://bucket/cats", "s3": {"secret": "abc", "client": [AWS_ID, 3]}},
        "logger": {"x": {"token": {"a": 1, "b": None}, "uri": "http://u:pw@h/p", "tokens": 4}},
        "name": "run-planted-token-1",
        "password": 12345,
    }
    assert redact(config) == {
        "seed": 0,
        "data": {
            "root": "s3://bucket/cats",
            "s3": {"secret": REMOVED, "client": [REMOVED, 3]},
        },
        "logger": {
            "x": {"token": {"a": REMOVED, "b": None}, "uri": f"http://{REMOVED}@h/p", "tokens": 4}
        },
        "name": f"run-{REMOVED}-1",
        "password": REMOVED,
    }


def test_messages_and_tracebacks_lose_their_secrets(capsys):
    logger = logging.getLogger("innflow.test_secret")
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Redacting())
    logger.addHandler(handler)
    logger.propagate = False  # what other tests have left behind is not asked
    try:
        logger.error("no answer from %s", "http://user:hunter22@host")
        try:
            raise ValueError("data.password=hunter22 is unknown")
        except ValueError:
            logger.exception("failed")
    finally:
        logger.removeHandler(handler)
    shown = capsys.readouterr().err
    assert "hunter22" not in shown
    assert "ValueError" in shown
    assert f"http://{REMOVED}@host" in shown


def test_a_value_that_was_taken_out_must_be_given_again(refused):
    node = {"_target_": "innflow.data.Toy", "name": redact("x", "token")}
    with refused("data.name: held a secret", "give it again"):
        build(node, "data")


@pytest.mark.parametrize(
    ("logger", "key"), [("mlflow", "tracking_uri"), ("wandb", "settings.api_key")]
)
def test_a_dashboard_needs_its_lost_secret_again(logger, key, tmp_path, refused):
    """A resumed run starts from the config.yaml of its folder."""
    with refused(f"logger.{logger}.{key}: held a secret", "give it again"):
        train(
            *(tmp_path / "run", *TINY_MOONS, "analysis=none", f"logger={logger}"),
            f"++logger.{logger}.{key}={REMOVED}",
        )


# --- every file that a run leaves


def planted(folder: Path, *secrets: str) -> list[str]:
    """Return the files below a folder that hold one of the secrets, in any file of any kind."""
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and any(each.encode() in path.read_bytes() for each in secrets)
    ]


@pytest.fixture
def exported(monkeypatch) -> Iterator[tuple[str, ...]]:
    """Secrets in the environment, as a user of W&B, S3 and a guarded MLflow server has them."""
    import wandb

    values = {
        "WANDB_API_KEY": WANDB,
        "AWS_SECRET_ACCESS_KEY": AWS,
        "AWS_ACCESS_KEY_ID": AWS_ID,
        "MY_PASSWORD": "planted:password",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    yield tuple(values.values())
    wandb.teardown()  # it keeps the key of the environment for every later run of the process


def test_no_file_of_a_run_holds_a_secret(exported, tmp_path, monkeypatch):
    """Secrets come in by the environment, at keys that name them and at keys that do not."""
    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path / "wandb"))
    run_dir = tmp_path / "run"
    train(
        *(run_dir, *TINY_MOONS, "analysis=none", "logger=many"),
        "name=a-${oc.env:AWS_SECRET_ACCESS_KEY}",
        "+logger.wandb.notes=${oc.env:MY_PASSWORD}",
        "+logger.wandb.settings={api_key:'${oc.env:WANDB_API_KEY}'}",
        "+logger.mlflow.tags.note=http://user:${oc.env:AWS_SECRET_ACCESS_KEY}@host",
    )
    assert list(run_dir.glob("wandb/offline-run-*/*.wandb"))
    assert list(run_dir.glob("tensorboard/events*"))
    assert list(run_dir.glob("mlruns/*/*/meta.yaml"))
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert config["name"] == f"a-{REMOVED}"
    assert config["logger"]["wandb"]["settings"] == {"api_key": REMOVED}
    assert planted(run_dir, *exported) == []
    assert planted(tmp_path / "wandb", *exported) == []


def test_python_callers_leave_no_secret_either(tmp_path):
    """`run` takes overrides as they were; nothing refused them before."""
    run_dir = tmp_path / "run"
    train(run_dir, *TINY_MOONS, "analysis=none", "name=http://me:hunter22@host/a")
    assert "+experiment=moons" in (run_dir / "report.html").read_text()
    assert planted(run_dir, "hunter22") == []


def test_the_command_refuses_before_it_writes(command):
    answer = command("innflow-train", "+experiment=moons", "+logger.wandb.api_key=hunter22")
    assert answer.code == 2
    assert answer.err.startswith("innflow-train: error: logger.wandb.api_key holds a secret")
    assert "hunter22" not in answer.err + answer.out
    assert list(Path.cwd().iterdir()) == []
    answer = command("innflow-score", "run=nowhere", "input=https://a:hunter22@host/x")
    assert answer.code == 2
    assert "holds a secret" in answer.err
    assert "hunter22" not in answer.err + answer.out


def test_an_error_does_not_repeat_a_secret(command, monkeypatch):
    monkeypatch.setenv("MY_PASSWORD", "planted:password")
    answer = command("innflow-train", "+experiment=moons", "+data.note=${oc.env:MY_PASSWORD}")
    assert answer.code == 2
    assert "data.note" in answer.err
    assert "planted:password" not in answer.err + answer.out


def test_a_sweep_keeps_no_secret_of_a_config_file(command):
    """Hydra copies the whole composed config into the folder of a sweep."""
    Path("mine/experiment").mkdir(parents=True)
    Path("mine/experiment/guarded.yaml").write_text(
        "# @package _global_\nname: guarded\nlogger:\n  note: {password: hunter22}\n"
    )
    answer = command(
        *("innflow-train", "-m", "--config-dir=mine", "+experiment=guarded"),
        *("seed=1,2", "model.depth=deep"),
    )
    assert answer.code == 2
    (record,) = Path("multirun/guarded").rglob("multirun.yaml")
    assert f"password: {REMOVED}" in record.read_text()
    assert "hunter22" not in answer.err + answer.out
    assert planted(Path("multirun"), "hunter22") == []


@pytest.mark.parametrize("secret", ["AWS_SECRET_ACCESS_KEY", "MY_PASSWORD"])
def test_a_traceback_of_a_bug_holds_no_secret(secret, exported):
    """What nobody foresaw is printed whole, except for the secrets in it."""
    program = (
        "import sys, os; from innflow.command import main, train\n"
        f"def broken(*args, **kw): raise RuntimeError('about ' + os.environ['{secret}'])\n"
        "train.run_job = broken\n"
        "sys.argv = ['innflow-train', '+experiment=moons']; main.train()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        **{"capture_output": True, "text": True, "check": False, "env": dict(os.environ)},
    )
    assert done.returncode == 1
    assert "RuntimeError" in done.stderr
    assert os.environ[secret] not in done.stderr + done.stdout
