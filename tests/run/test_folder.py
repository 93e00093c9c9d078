from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from innflow.run.folder import LOCK, claim, write_origin
from innflow.system.atomic import write_json, write_text

HOLD = """
import sys
from pathlib import Path
from innflow.run.folder import claim
with claim(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def other_process(tmp_path):
    """Hold tmp_path/run in a process of its own, until the test lets go."""
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "held\n"
        yield folder, process
        process.stdin.close()


def test_a_new_folder_is_made_with_its_parents(tmp_path):
    with claim(tmp_path / "a" / "b") as folder:
        assert folder.is_dir()
        (folder / "metrics.json").write_text("{}")
    assert (tmp_path / "a" / "b" / "metrics.json").exists()


def test_a_run_that_wrote_nothing_leaves_no_folder(tmp_path):
    class Refusal(Exception):
        pass

    with pytest.raises(Refusal), claim(tmp_path / "a" / "b"):
        raise Refusal
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_of_the_user_stays(tmp_path):
    with claim(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_refused(tmp_path, refused):
    (tmp_path / "metrics.json").write_text("{}")
    with (
        refused(f"run_dir={tmp_path}: holds files already", "ckpt=last"),
        claim(tmp_path),
    ):
        pass
    with claim(tmp_path, resume=True):
        pass
    assert (tmp_path / "metrics.json").read_text() == "{}"


@pytest.mark.parametrize("resume", [False, True])
def test_a_folder_that_another_process_holds_is_refused(other_process, resume, refused):
    folder, process = other_process
    with (
        refused(f"run_dir={folder}: another process is using it", "choose another"),
        claim(folder, resume),
    ):
        pass
    assert folder.is_dir()
    process.stdin.close()
    process.wait(timeout=60)
    with claim(folder, resume):
        pass


def test_the_lock_file_of_a_dead_process_is_no_lock(tmp_path):
    (tmp_path / LOCK).touch()
    with claim(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, refused):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with refused(f"run_dir={path}: cannot be written"), claim(path):
            pass


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert json.loads(path.read_text()) == {"a": 1}


def test_the_origin_of_a_run(tmp_path):
    write_origin(tmp_path, {"seed": 3, "model": {"depth": 2}}, ["model.depth=2"], "cpu")
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["model"] == {"depth": 2}
    assert yaml.safe_load((tmp_path / "overrides.yaml").read_text()) == ["model.depth=2"]
    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["seed"] == 3
    assert environment["device"] == "cpu"
    assert environment["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert sorted(path.name for path in Path(tmp_path).iterdir()) == [
        "config.yaml",
        "environment.json",
        "overrides.yaml",
    ]
