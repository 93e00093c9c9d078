"""Sweeps on this machine: parallel, adaptive, and those that are refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
import yaml
from tiny import TINY_MOONS

from innflow.command import main as cli
from innflow.config.resolvers import slurm_gpus
from innflow.run.report.sweep_report import monitored

TRAIN = (sys.executable, "-c", "from innflow.command.main import train; train()", "-m")
QUICK = (*TINY_MOONS, "analysis=none", "score=none")


def forked(here: Path, *arguments: str) -> tuple[int, str]:
    """Do what innflow-train does in a copy of this process; return its exit code and stderr."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.chdir(here)
            os.dup2(os.open("err", os.O_CREAT | os.O_WRONLY | os.O_APPEND), 2)
            sys.stderr = os.fdopen(2, "w", buffering=1)
            sys.argv = ["innflow-train", *arguments]
            cli.train()
            code = 0
        except SystemExit as exit:
            code = int(exit.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, (here / "err").read_text()


@pytest.mark.representatives("1")
@pytest.mark.parametrize("jobs", [1, 2])
def test_jobs_of_joblib_fail_alone(jobs, tmp_path):
    """One after another, or side by side in processes of their own."""
    parallel = ("hydra/launcher=joblib", f"hydra.launcher.n_jobs={jobs}", "hydra.sweep.dir=sweep")
    code, err = forked(tmp_path, "-m", *QUICK, *parallel, "model.depth=0,1,-1")
    assert code == 2, err
    lines = [line for line in err.splitlines() if line.startswith("innflow-train: ")]
    assert sorted(lines[:2]) == lines[:2]
    assert lines[0].startswith("innflow-train: job 0: FAILED (model.depth=0): ")
    assert lines[1].startswith("innflow-train: job 2: FAILED (model.depth=-1): ")
    assert lines[2].startswith("innflow-train: error: 2 jobs of the sweep failed")
    assert (tmp_path / "sweep/1/metrics.json").is_file()
    failure = json.loads((tmp_path / "sweep/0/failed.json").read_text())
    assert "model.depth=0" in failure["overrides"]


@pytest.mark.extended
def test_an_adaptive_sweep_is_told_what_chose_the_best_checkpoint(command):
    answer = command(
        *("innflow-train", "-m", *QUICK, "hydra/sweeper=adaptive", "hydra.sweep.dir=sweep"),
        *("model.depth=1", "hydra.sweeper.n_trials=3", "hydra.sweeper.n_jobs=1"),
    )
    assert answer.code == 0, answer.err
    result = yaml.safe_load(Path("sweep/optimization_results.yaml").read_text())
    assert set(result["best_params"]) == {"optimizer.lr"}  # model.depth has left the space
    values, rates = [], []
    for number in range(3):
        folder = Path(f"sweep/{number}")
        config = yaml.safe_load((folder / "config.yaml").read_text())
        assert config["model"]["depth"] == 1
        rates.append(config["optimizer"]["lr"])
        values.append(monitored(folder, config))
    assert len(set(rates)) == 3
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    assert result["best_value"] == pytest.approx(min(values))


@pytest.mark.representatives("basic")
@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_local_ddp_in_a_sweep_is_refused_by_one_line(launcher, tmp_path):
    several = ("strategy=ddp", "trainer.devices=2", "seed=1,2")
    command = [*TRAIN, *QUICK, f"hydra/launcher={launcher}", *several]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    (line,) = [text for text in done.stderr.splitlines() if text.startswith("innflow-train: ")]
    assert all(word in line for word in ("strategy=ddp", "ddp_spawn", "hydra/launcher=slurm"))


def test_a_plugin_that_is_missing_is_named_by_its_extra(tmp_path):
    empty = tmp_path / "empty/hydra_plugins"
    empty.mkdir(parents=True)
    (empty / "__init__.py").write_text("__path__ = []\n")
    env = {**os.environ, "PYTHONPATH": f"{empty.parent}:{os.environ.get('PYTHONPATH', '')}"}
    for choice in ("hydra/launcher=slurm", "hydra/launcher=joblib", "hydra/sweeper=adaptive"):
        command = [*TRAIN, "+experiment=moons", choice, "seed=1,2"]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 2
        said = f"{choice}: not installed; pip install 'innflow[cluster]'"
        assert done.stderr == f"innflow-train: error: {said}\n"


def test_a_job_of_slurm_asks_for_a_gpu_a_device():
    assert slurm_gpus("auto", 2) == 2
    assert slurm_gpus("gpu", 4) == 4
    assert slurm_gpus("cpu", 4) is None
