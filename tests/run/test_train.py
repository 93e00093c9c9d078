"""A run from a config to its folder: files, metrics, reproducibility, resuming, stopping."""

from __future__ import annotations

import csv
import json
import math
import re
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from tiny import TINY_IMAGES, TINY_VECTORS, train

from innflow.errors import InnflowError
from innflow.flow.actnorm import ActNorm
from innflow.run.load import load
from innflow.run.trainer import check_validation
from innflow.system.failed_jobs import note_failure, read_failure

SCORES = ["likelihood", "bits_per_dim", "latent_distance", "typicality"]
P_VALUES = [f"{name}_p" for name in SCORES]
LEADING = ["score", "p_value", "p_value_min", "calibration_items", "log_prob"]
DIMS = 3 * 8 * 8


def metrics_of(run_dir: Path) -> dict[str, float]:
    return json.loads((run_dir / "metrics.json").read_text())


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def scores(image_run) -> dict[str, dict[str, np.ndarray]]:
    """Columns of scores.csv by set."""
    rows = rows_of(image_run / "scores.csv")
    sets = dict.fromkeys(row["set"] for row in rows)
    return {
        name: {
            key: np.array([float(row[key]) for row in rows if row["set"] == name])
            for key in rows[0]
            if key not in ("path", "set")
        }
        for name in sets
    }


@pytest.fixture(scope="module")
def halves() -> tuple[np.ndarray, np.ndarray]:
    """Positions in test that p-values are calibrated on, and that scores are tested on."""
    order = np.random.default_rng(0).permutation(16)
    return np.sort(order[:8]), np.sort(order[8:])


def test_the_folder_holds_the_files_of_the_design(image_run):
    names = {path.name for path in image_run.iterdir()} - {".lock"}
    assert names == {
        *("config.yaml", "overrides.yaml", "environment.json", "checkpoints", "metrics.csv"),
        *("metrics.json", "scores.csv", "scores.npz", "latents.npz", "figures"),
        *("report.json", "report.html"),
    }
    assert {path.name for path in (image_run / "checkpoints").iterdir()} == {
        "best.ckpt",
        "last.ckpt",
    }


def test_the_folder_holds_the_origin_of_the_run(image_run, photographs):
    config = yaml.safe_load((image_run / "config.yaml").read_text())
    assert config["data"]["root"] == str(photographs)
    assert config["seed"] == 0
    assert "${" not in (image_run / "config.yaml").read_text()
    overrides = yaml.safe_load((image_run / "overrides.yaml").read_text())
    assert overrides[: len(TINY_IMAGES)] == list(TINY_IMAGES)
    environment = json.loads((image_run / "environment.json").read_text())
    assert environment["versions"]["torch"] == version("torch")
    assert environment["seed"] == 0
    assert environment["device"]


@pytest.mark.parametrize("which", ["best", "last"])
def test_checkpoints_hold_tensors_and_plain_dicts(image_run, which):
    checkpoint = torch.load(image_run / f"checkpoints/{which}.ckpt", weights_only=True)
    assert checkpoint["innflow"]["shapes"] == {"x": [3, 8, 8]}
    assert checkpoint["innflow"]["config"]["name"] == "cats_ood"
    assert checkpoint["global_step"] == 2


def test_metrics_csv_has_every_logged_step(image_run):
    rows = rows_of(image_run / "metrics.csv")
    trained = [int(row["step"]) for row in rows if row["train/nll"]]
    assert trained == [0, 1]
    for row in rows:
        if row["train/nll"]:
            assert all(math.isfinite(float(row[key])) for key in ("train/loss", "train/bpd"))
    assert any(row["val/bpd"] for row in rows)


def test_metrics_json_is_flat_and_its_names_are_stable(image_run):
    metrics = metrics_of(image_run)
    assert all(isinstance(v, float) and math.isfinite(v) for v in metrics.values())
    expected = {"test/bpd", "test/nll", "train/bpd", "bpd/dog", "bpd/ball", "roundtrip/max_error"}
    expected |= {"time/train_seconds", "time/images_per_second"}
    for score in SCORES:
        expected |= {f"ood/{score}/mean/{key}" for key in ("auroc", "aupr", "fpr95")}
        for outliers in ("dog", "ball"):
            for key in ("auroc", "aupr", "fpr95"):
                expected |= {f"ood/{score}/{outliers}/{key}{end}" for end in ("", "_low", "_high")}
    assert expected <= metrics.keys()
    assert metrics["roundtrip/max_error"] < 1e-4 * 256


def test_scores_csv_has_a_row_an_image(image_run, scores):
    rows = rows_of(image_run / "scores.csv")
    assert list(rows[0]) == ["path", *LEADING, *SCORES, *P_VALUES, "set"]
    sizes = {name: len(columns["score"]) for name, columns in scores.items()}
    assert sizes == {"train": 38, "val": 2, "test": 16, "ball": 7, "dog": 9}
    paths = {row["path"] for row in rows}
    assert len(paths) == len(rows)
    assert {f"val/dog/{i}.png" for i in range(9)} <= paths


def test_scores_mean_what_their_names_say(scores, image_run):
    app = load(image_run)
    for columns in scores.values():
        nll = -columns["log_prob"]
        assert np.array_equal(columns["score"], columns["likelihood"])
        np.testing.assert_allclose(columns["likelihood"], nll, rtol=1e-6)
        np.testing.assert_allclose(columns["bits_per_dim"], nll / (DIMS * math.log(2)), rtol=1e-6)
    mean = -scores["train"]["log_prob"].mean()
    for columns in scores.values():
        expected = abs(-columns["log_prob"] - mean)
        np.testing.assert_allclose(columns["typicality"], expected, atol=1e-2)
    assert app.scorer is not None


def test_bits_per_dim_have_noise_and_scores_csv_is_at_the_bin_centres(image_run, scores):
    metrics = metrics_of(image_run)
    centre = scores["test"]["bits_per_dim"].mean()
    assert metrics["test/bpd_centre"] == pytest.approx(centre, rel=1e-5)
    assert metrics["test/nll"] == pytest.approx(metrics["test/bpd"] * DIMS * math.log(2), rel=1e-5)
    assert metrics["test/bpd"] != pytest.approx(centre, rel=1e-6)
    assert metrics["test/bpd_se"] > 0


def test_p_values_count_the_other_test_inliers(scores):
    inliers = scores["test"]
    reference = inliers["score"]

    def p(score: float, others: np.ndarray) -> float:
        return (1 + (others >= score).sum()) / (len(others) + 1)

    for name, columns in scores.items():
        assert ((columns["p_value"] > 0) & (columns["p_value"] <= 1)).all()
        if name != "test":
            expected = [p(score, reference) for score in columns["score"]]
            np.testing.assert_allclose(columns["p_value"], expected)
            assert set(columns["calibration_items"]) == {16}
            assert columns["p_value_min"] == pytest.approx(1 / 17)
    assert set(inliers["calibration_items"]) == {15}
    for i, score in enumerate(reference):
        assert inliers["p_value"][i] == pytest.approx(p(score, np.delete(reference, i)))


@pytest.mark.parametrize("outliers", ["dog", "ball"])
@pytest.mark.parametrize("score", SCORES)
def test_every_ood_number_by_scikit_learn(score, outliers, image_run, scores, halves):
    metrics = metrics_of(image_run)
    inlier, outlier = scores["test"][score][halves[1]], scores[outliers][score]
    values = np.concatenate([inlier, outlier])
    strange = np.repeat([0, 1], [len(inlier), len(outlier)])
    accepted, kept, _ = roc_curve(1 - strange, -values, drop_intermediate=False)
    expected = {
        "auroc": roc_auc_score(strange, values),
        "aupr": average_precision_score(strange, values),
        "fpr95": accepted[kept >= 0.95].min(),
    }
    for key, value in expected.items():
        name = f"ood/{score}/{outliers}/{key}"
        assert metrics[name] == pytest.approx(value, abs=1e-9), name
        assert 0 <= metrics[f"{name}_low"] <= metrics[f"{name}_high"] <= 1
        mean = np.mean([metrics[f"ood/{score}/{other}/{key}"] for other in ("dog", "ball")])
        assert metrics[f"ood/{score}/mean/{key}"] == pytest.approx(mean)


def test_figures_are_pictures_and_the_report_holds_them_all(image_run):
    figures = sorted((image_run / "figures").glob("*.png"))
    assert len(figures) >= 12
    for path in figures:
        with Image.open(path) as picture:
            assert min(picture.size) > 100
            assert len(np.unique(np.asarray(picture.convert("L")))) > 8, path.name
    html = (image_run / "report.html").read_text()
    assert html.count("<figure><img") == len(figures)
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", html)
    assert "@import" not in html


def test_the_same_seed_gives_the_same_numbers(vector_run, tmp_path):
    def numbers(metrics: dict[str, float]) -> dict[str, float]:
        return {name: value for name, value in metrics.items() if not name.startswith("time/")}

    torch.manual_seed(99)  # what came before in this process must not matter
    again = train(tmp_path / "again", *TINY_VECTORS)
    assert numbers(again) == numbers(metrics_of(vector_run))
    other = train(tmp_path / "other", *TINY_VECTORS, "seed=1")
    assert numbers(other) != numbers(again)


def test_a_resumed_run_goes_on(tmp_path, monkeypatch):
    initialised = []
    initialise = ActNorm.initialise

    def noted(layer: ActNorm, inputs: torch.Tensor, *rest: None) -> None:
        initialised.append(layer)
        initialise(layer, inputs)

    monkeypatch.setattr(ActNorm, "initialise", noted)
    run_dir = tmp_path / "run"
    short = ["+experiment=moons", "data.n=600", "data.n_test=40", "model.depth=2"]
    short += ["data.batch_size=60", "trainer.log_every_n_steps=1", "analysis=none"]
    train(run_dir, *short, "trainer.max_steps=3")
    assert len(initialised) == 2  # one for each of the two couplings
    before = rows_of(run_dir / "metrics.csv")
    weights = torch.load(run_dir / "checkpoints/last.ckpt", weights_only=True)["state_dict"]

    monkeypatch.setattr(ActNorm, "initialise", lambda self, *x: pytest.fail("initialised again"))
    note_failure(run_dir, 0, [], "FAILED", "a node went away")
    train(run_dir, *short, "trainer.max_steps=5", "ckpt=last")
    assert read_failure(run_dir) is None  # a sweep's report would still call it failed
    after = rows_of(run_dir / "metrics.csv")
    steps = [int(row["step"]) for row in after if row["train/nll"]]
    assert steps == [0, 1, 2, 3, 4]
    for old, new in zip(before, after, strict=False):
        assert {key: value for key, value in new.items() if key in old} == old
    last = torch.load(run_dir / "checkpoints/last.ckpt", weights_only=True)
    assert last["global_step"] == 5
    changed = [name for name, w in weights.items() if not torch.equal(w, last["state_dict"][name])]
    assert any("log_scale" in name for name in changed)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, refused):
    """One row of the table is so far out that its square overflows."""
    rng = np.random.default_rng(3)
    points = rng.normal(size=(400, 2))
    points[200] = 3e38
    table = tmp_path / "table.csv"
    table.write_text("a,b\n" + "".join(f"{a},{b}\n" for a, b in points))
    run_dir = tmp_path / "run"
    with refused("training stopped at step", "train/nll", "last good checkpoint: ", "last.ckpt"):
        train(
            *(run_dir, "data=table", f"data.path={table}", "data.batch_size=8", "model.depth=2"),
            *("trainer.max_epochs=2", "trainer.val_check_interval=2", "analysis=none"),
            "trainer.check_val_every_n_epoch=1",
        )
    app = load(run_dir, "last")
    assert torch.isfinite(app.log_prob(torch.zeros(1, 2))).all()
    assert not (run_dir / "metrics.json").exists()


def test_a_refused_run_leaves_the_disk_as_it_was(tmp_path, refused):
    with refused("data.batch_size=5000"):
        train(tmp_path / "a/b/c", *TINY_VECTORS, "data.batch_size=5000")
    assert list(tmp_path.iterdir()) == []


def test_drawn_cats_are_announced_first(tmp_path, capsys, refused):
    with refused("cannot be halved"):
        train(tmp_path / "run", "+experiment=cats_ood", "data.size=9")
    assert capsys.readouterr().out.startswith("data.root is null: training on simulated cats")


def test_validations_further_apart_than_an_epoch_are_refused():
    trainer = {"val_check_interval": 4, "check_val_every_n_epoch": 1}
    check_validation(trainer, range(4))
    check_validation({**trainer, "check_val_every_n_epoch": None}, range(3))
    check_validation({**trainer, "val_check_interval": 0.5}, range(3))
    with pytest.raises(InnflowError, match="val_check_interval=4 is more than the 3 batches"):
        check_validation(trainer, range(3))
