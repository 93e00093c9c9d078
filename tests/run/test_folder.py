from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from small import held_elsewhere

from innflow.run import folder
from innflow.run.folder import LOCK, claim, write_origin
from innflow.system.file.atomic import write_json, write_text


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
def test_a_folder_that_another_process_holds_is_refused(resume, refused, tmp_path):
    folder = tmp_path / "run"
    with held_elsewhere(folder) as let_go:
        with (
            refused(f"run_dir={folder}: another process is using it", "choose another"),
            claim(folder, resume),
        ):
            pass
        assert folder.is_dir()
        let_go()
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


@pytest.mark.parametrize(("new", "order"), [(True, "oc"), (False, "co")])
def test_a_killed_process_leaves_settings_from_which_a_run_resumes(
    new, order, tmp_path, monkeypatch
):
    if not new:
        write_origin(tmp_path, {"seed": 3}, ["seed=3"], "cpu")
    written = []

    def note(path, text):
        written.append(path.name[0])
        write_text(path, text)

    monkeypatch.setattr(folder, "write_text", note)
    write_origin(tmp_path, {"seed": 4}, ["seed=4"], "cpu")
    assert "".join(written) == order
