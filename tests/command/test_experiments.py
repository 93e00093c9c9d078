"""Every experiment from its command to its report: two steps, on small stand-ins for downloads."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import innflow.conf
import numpy as np
import pytest
from data.image.test_vision import write_cifar, write_mnist, write_svhn
from PIL import Image
from tiny import train

from innflow.figure import style

EXPERIMENTS = sorted(
    path.stem for path in (Path(innflow.conf.__file__).parent / "experiment").glob("*.yaml")
)
QUICK = ("+debug=fdr", "run_dir=run")
ALONE = "moons"
"""The experiment that runs in a process of its own; the others share the imports of the tests."""


def write_folders(root: Path, size: int, sets: dict[str, int]) -> Path:
    """Write noise of a different brightness in each folder."""
    rng = np.random.default_rng(list(root.name.encode()))
    for shade, (folder, count) in enumerate(sets.items()):
        (root / folder).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(10 * shade, 256, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / folder / f"{i}.png")
    return root


def pictures(here: Path) -> Path:
    sets = {"train/cat": 160, "train/dog": 80, "test/cat": 16, "test/dog": 16, "test/ball": 12}
    return write_folders(here / "pictures", 32, sets)


def general_pictures(here: Path) -> Path:
    return write_folders(here / "general", 32, {"train/thing": 80, "test/thing": 16})


def write_table(path: Path, shift: float) -> Path:
    rows = np.random.default_rng(0).normal(shift, 1.0, (800, 3))
    np.savetxt(path, rows, delimiter=",", header="a,b,c", comments="")
    return path


@pytest.fixture(scope="module")
def general_run(tmp_path_factory) -> Path:
    """A run of the general model, for likelihood ratios."""
    folder = tmp_path_factory.mktemp("general")
    data = (f"data.root={general_pictures(folder)}", f"data.cache_dir={folder / 'cache'}")
    train(folder / "run", "+experiment=general", "+debug=fdr", "analysis=none", *data)
    return folder / "run"


@pytest.fixture
def stand_ins(command, request, monkeypatch) -> Callable[[str], list[str]]:
    """Return `stand_ins(experiment)`: writes its data here and returns the overrides to them."""
    here = Path.cwd()

    def digits() -> list[str]:
        write_mnist(here / "data", count=80)
        write_mnist(here / "data", "FashionMNIST", count=80)
        return [f"data.root={here / 'data'}", "data.download=false"]

    def small_photographs() -> list[str]:
        write_cifar(here / "data", monkeypatch, count=20)
        write_svhn(here / "data", monkeypatch, count=20)
        return [f"data.root={here / 'data'}", "data.download=false"]

    def ten_folders() -> list[str]:
        sets = {f"{part}/{i}": n for part, n in (("train", 20), ("test", 8)) for i in range(10)}
        return [f"data.root={write_folders(here / 'digits', 28, sets)}"]

    def rows() -> list[str]:
        inliers, others = (write_table(here / f"{i}.csv", 2.0 * i) for i in range(2))
        return [f"data.path={inliers}", f"data.outliers={others}"]

    def own_simulator() -> list[str]:
        module = "innflow.problem.two_moons"
        return [f"data.prior={module}.prior", f"data.forward={module}.forward", "data.n=2000"]

    def ratio() -> list[str]:
        return [*companion(), f"data.general={general_pictures(here)}"]

    def companion() -> list[str]:
        run = request.getfixturevalue("general_run")
        return [f"companions.general={run}", *photographs()]

    def photographs() -> list[str]:
        return [f"data.root={pictures(here)}", "data.inliers=[cat]"]

    def two_classes() -> list[str]:
        return [f"data.root={pictures(here)}"]

    written = {
        "mnist": digits,
        "ood_fashion": digits,
        "cifar10": small_photographs,
        "ood_mnist": ten_folders,
        "ood_tabular": rows,
        "simulator": own_simulator,
        "general": lambda: [f"data.root={general_pictures(here)}"],
        "cats_embedding_maps": photographs,
        "cats_embeddings": lambda: [*photographs(), "data.components=null"],
        "cats_glow": photographs,
        "cats_ratio": ratio,
        "cats_vs_dogs": two_classes,
        "ood_cifar10": companion,
    }
    return lambda experiment: written.get(experiment, list)()


@pytest.mark.parametrize("experiment", [name for name in EXPERIMENTS if name != ALONE])
def test_every_experiment_ends_with_a_report(experiment, command, stand_ins, monkeypatch):
    monkeypatch.setattr(style, "DPI", 30)  # a tenth of the pixels; others look at the figures
    answer = command(
        *("innflow-train", f"+experiment={experiment}", *QUICK), *stand_ins(experiment)
    )
    assert answer.code == 0, answer.err
    check_results(Path("run"))


def test_an_experiment_in_a_process_of_its_own(tmp_path):
    """From an empty folder; the last line on stdout is the run folder."""
    program = [sys.executable, "-c", "from innflow.command.main import train; train()"]
    overrides = (f"+experiment={ALONE}", "+debug=fdr")
    done = subprocess.run(
        [*program, *overrides], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    run_dir = Path(lines[-1])
    assert run_dir.parent == tmp_path / "outputs" / ALONE
    check_results(run_dir)
    assert any(line.startswith("time/train_seconds ") for line in lines)
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]


def check_results(run: Path) -> None:
    assert json.loads((run / "metrics.json").read_text())
    assert (run / "report.html").stat().st_size > 1000
