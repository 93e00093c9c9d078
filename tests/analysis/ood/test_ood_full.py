"""Every analysis of analysis=ood_full through the command."""

import json
from pathlib import Path

import numpy as np
import pytest

SMALL = (
    *("analysis.scores.resamples=20", "analysis.samples=null", "analysis.latent_cloud=null"),
    *("analysis.roundtrip=null", "analysis.interpolation=null", "analysis.training=null"),
    "analysis.couplings.items=4",
    *("analysis.amplitude_phase.pairs=4", "analysis.amplitude_phase.steps=3"),
    *("analysis.batches.sizes=[1,3]", "analysis.batches.draws=20"),
)
FIGURES = {
    *("couplings", "couplings_outputs", "ranking_images", "ranking_spearman"),
    *("texture_differences", "texture_likelihood"),
    *("amplitude_phase_images", "amplitude_phase_likelihood"),
    "anomaly_map_anomaly_maps",
    *("batches", "scores_extremes", "scores_histograms", "scores_roc", "scores_p_values"),
}


@pytest.mark.extended
def test_all_analyses_of_a_run_on_images(command, image_run):
    answer = command(
        *("innflow-eval", f"run={image_run}", "analysis=ood_full", "out=there"),
        *SMALL,
    )
    assert answer.code == 0, answer.err
    there = Path("there")
    assert {path.stem for path in (there / "figures").iterdir()} == FIGURES
    metrics = json.loads((there / "metrics.json").read_text())
    for key in (
        "couplings/prediction/dog",
        "couplings/neighbours/ball",
        "ranking/typicality/spearman_headline",
        "texture/density/test/spearman",
        "amplitude_phase/amplitude/pearson",
        "batches/likelihood/dog/power_3",
    ):
        assert key in metrics
    sections = json.loads((there / "report.json").read_text())
    assert len(sections) == 3 + 6


def test_analyses_of_images_are_refused_for_vectors(command, vector_run):
    answer = command("innflow-eval", f"run={vector_run}", "analysis=ood_full")
    assert answer.code == 2
    assert "needs images" in answer.err


@pytest.mark.extended
def test_analyses_of_the_rows_of_a_table(command):
    rng = np.random.default_rng(0)
    for name, centre in (("inliers", 0.0), ("others", 4.0)):
        rows = rng.normal(centre, 1.0, (1000, 3))
        np.savetxt(f"{name}.csv", rows, delimiter=",", header="a,b,c", comments="")
    answer = command(
        *("innflow-train", "+experiment=ood_tabular", "data.path=inliers.csv", "run_dir=run"),
        *(
            "data.outliers=others.csv",
            "trainer.max_epochs=10",
            "model.depth=2",
            "data.batch_size=64",
        ),
        *("analysis.scores.resamples=20", "analysis.batches.draws=50"),
    )
    assert answer.code == 0, answer.err
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert metrics["ood/likelihood/outliers/auroc"] > 0.95
    assert metrics["batches/likelihood/outliers/power_5"] > 0.9
