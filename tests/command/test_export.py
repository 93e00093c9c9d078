"""innflow-export: files that need no innflow."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

import innflow


@pytest.mark.slow
def test_a_run_as_onnx_files(command, vector_run):
    answer = command("innflow-export", f"run={vector_run}", "out=made")
    assert answer.code == 0, answer.err
    assert answer.out.splitlines()[-1] == str(Path("made").absolute())
    assert {path.name for path in Path("made").iterdir() if path.suffix} == {
        *("log_prob.onnx", "sample.onnx", "score.onnx", "card.json")
    }
    card = json.loads(Path("made/card.json").read_text())
    assert card["programs"]["sample"]["inputs"]["z"]["shape"] == ["batch", 2]
    app = innflow.load(vector_run)
    x = app.sample(3, seed=1)
    session = onnxruntime.InferenceSession("made/score.onnx")
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, {"x": x.numpy()}), strict=True))
    scored = app.score(x)
    assert scored.keys() - found.keys() == {"p_value_min", "calibration_items"}  # constants
    for name, values in found.items():
        np.testing.assert_allclose(values, scored[name], rtol=1e-4, err_msg=name)


@pytest.mark.extended
@pytest.mark.parametrize("form", ["onnx", "torch"])
def test_images_and_posteriors(command, image_run, inverse_run, form):
    suffix = {"onnx": "onnx", "torch": "pt2"}[form]
    answer = command("innflow-export", f"run={image_run}", f"format={form}", "out=images")
    assert answer.code == 0, answer.err
    assert Path(f"images/score.{suffix}").is_file()
    answer = command("innflow-export", f"run={inverse_run}", f"format={form}", "out=posterior")
    assert answer.code == 0, answer.err
    assert Path(f"posterior/posterior.{suffix}").is_file()


def test_a_missing_package_and_a_wrong_format_are_one_line(command, vector_run, monkeypatch):
    answer = command("innflow-export", f"run={vector_run}", "format=onx")
    assert (answer.code, answer.err) == (
        2,
        "innflow-export: error: format=onx: must be onnx or torch\n",
    )
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    answer = command("innflow-export", f"run={vector_run}", "out=made")
    assert answer.code == 2
    assert "pip install 'innflow[export]'" in answer.err
    assert len(answer.err.splitlines()) == 1
    assert not Path("made").exists()


def test_nothing_is_left_of_an_export_that_fails(command, vector_run, monkeypatch):
    def fail(*_, **__):
        raise torch.onnx.errors.OnnxExporterError("no such operator")

    monkeypatch.setattr(torch.export, "export", fail)
    answer = command("innflow-export", f"run={vector_run}", "out=made")
    assert answer.code == 2
    assert "log_prob.onnx: cannot be exported: no such operator" in answer.err
    assert not Path("made").exists()
