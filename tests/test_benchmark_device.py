"""The script for another device: its page, and the script itself on the CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import device

ROOT = Path(__file__).resolve().parents[1]


def test_page_has_every_part_with_its_last_line_and_every_check(tmp_path):
    parts = [{"part": "see", "seconds": 2, "code": 0}, {"part": "moons", "seconds": 9, "code": 1}]
    (tmp_path / "parts.jsonl").write_text("".join(json.dumps(part) + "\n" for part in parts))
    (tmp_path / "see.log").write_text("torch 2\n")
    (tmp_path / "moons.log").write_text("many lines\nRuntimeError: a | b\n\n")
    row = {"check": "round trip", "flows": 3, "bound": 1e-3, "failed": ["glow: 2.0e-01"]}
    (tmp_path / "laws.jsonl").write_text(json.dumps(row | {"worst": 0.2, "seconds": 1.5}) + "\n")
    device.page(tmp_path)
    text = (tmp_path / "device.md").read_text()
    assert "| moons | 9 | 1 | RuntimeError: a \\| b |" in text
    assert "| round trip | 3 | 2.0e-01 | 1e-03 | 1.5 | glow: 2.0e-01 |" in text
    assert json.loads((tmp_path / "device.json").read_text())["parts"][1]["code"] == 1


def test_a_run_whose_loss_does_not_fall_or_is_not_finite_fails(tmp_path):
    file = tmp_path / "metrics.csv"
    file.write_text("step,train/loss,val/nll\n10,1.5,\n10,,2.0\n20,1.25,\n")
    device.trained(tmp_path)
    for losses in (("1.5", "1.75"), ("1.5", "nan"), ("1.5",)):
        file.write_text("train/loss\n" + "\n".join(losses) + "\n")
        with pytest.raises(RuntimeError):
            device.trained(tmp_path)


@pytest.mark.slow
def test_script_runs_on_the_cpu(tmp_path):
    settings = {"DEVICE": "cpu", "QUICK": "1", "OUT": str(tmp_path), "PYTHON": sys.executable}
    command = ["bash", str(ROOT / "benchmarks/device.sh")]
    environment = {**os.environ, **settings, "TOTAL": "280"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    parts = {part["part"]: part["code"] for part in device_parts(tmp_path)}
    assert done.returncode == 0, done.stdout
    assert parts == dict.fromkeys(("see", "laws", "moons", "cats_glow", "compiles", "speed"), 0)


def device_parts(folder: Path) -> list[dict[str, str]]:
    return json.loads((folder / "device.json").read_text())["parts"]
