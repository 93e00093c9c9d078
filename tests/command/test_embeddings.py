"""A run on features of a pretrained network, from pictures in folders to a score for each file."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import innflow
from innflow.config.build import build
from innflow.run.features import COORDINATES

# Noise hardly moves some channels, by 1e-6: standardised, they would make large what the network
# rounds, which depends on the other images of a batch.
RUN = (
    *("innflow-train", "+experiment=cats_embeddings", "+debug=fdr", "run_dir=run"),
    *("data.size=32", "data.batch_size=8", "data.components=null", "data.normalise=l2"),
    *("model.depth=1", "score=default", "~score.scores.bits_per_dim", "analysis=none"),
)


def test_pictures_are_scored_by_a_run_on_features(command, photographs):
    answer = command(*RUN, f"data.root={photographs}")
    assert answer.code == 0, answer.err
    answer = command("innflow-score", "run=run", f"input={photographs / 'val'}", "out=scores.csv")
    assert answer.code == 0, answer.err
    with open("scores.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 16 + 9 + 7
    with np.load(f"run/{COORDINATES}") as arrays:
        assert "weights" in arrays
    # The same pictures through the data module of the run itself.
    app = innflow.load("run")
    dogs = build(app.config["data"], "data").sets()["dog"]
    exact = dict(zip(dogs.names, app.log_prob(dogs.parts["x"]).tolist(), strict=True))
    for row in rows:
        if row["path"].startswith("dog"):
            assert np.isclose(-float(row["likelihood"]), exact[f"val/{row['path']}"], rtol=1e-3)
    # Pictures in the forms that Python has.
    paths = [photographs / "val" / row["path"] for row in rows[:3]]
    expected = [float(row["score"]) for row in rows[:3]]
    arrays = [np.asarray(Image.open(path)) for path in paths]
    for form in (paths, arrays, np.stack(arrays), [Image.open(path) for path in paths]):
        np.testing.assert_allclose(app.score(form)["score"], expected, rtol=1e-3)
    features = app.to_data(paths)
    np.testing.assert_allclose(-app.log_prob(features), expected, rtol=1e-3)


def test_a_run_without_its_coordinates_is_refused(command, photographs, tmp_path):
    answer = command(*RUN, f"data.root={photographs}")
    assert answer.code == 0, answer.err
    (tmp_path / "here" / "run" / COORDINATES).unlink()
    answer = command("innflow-score", "run=run", f"input={photographs / 'val'}")
    assert answer.code == 2
    assert COORDINATES in answer.err
    assert len(answer.err.strip().splitlines()) == 1


@pytest.mark.extended
def test_maps_of_features_go_through_a_whole_run(command, photographs):
    answer = command(
        *("innflow-train", "+experiment=cats_embedding_maps", "+debug=fdr", "run_dir=run"),
        *(f"data.root={photographs}", "data.size=64", "data.batch_size=8"),
        *("model.depth=1", "model.hidden=8", "analysis.scores.resamples=20"),
        *("score.scores.mahalanobis.components=4", "analysis.anomaly_map.shown=2"),
    )
    assert answer.code == 0, answer.err
    metrics = json.loads(Path("run/metrics.json").read_text())
    assert "test/nll" in metrics
    assert "test/bpd" not in metrics  # they have the shape of images, and no grey levels
    assert metrics["map/dog/mean"] > 0
    assert Path("run/figures/anomaly_map_anomaly_maps.png").is_file()
    given = ["run=run", f"input={photographs / 'val/ball'}", "maps=maps", "out=scores.csv"]
    answer = command("innflow-score", *given)
    assert answer.code == 0, answer.err
    assert len([*Path("maps").glob("*.png.png")]) == 7
    answer = command("innflow-sample", "run=run", "n=3", "out=drawn")
    assert answer.code == 0, answer.err
    with np.load("drawn/samples.npz") as drawn:
        assert drawn["x"].shape == (3, 112, 4, 4)


def test_maps_are_no_grey_levels(command, photographs):
    answer = command(
        *("innflow-train", "+experiment=cats_embedding_maps", "app=generation", "run_dir=run"),
        *(f"data.root={photographs}", "data.size=64", "data.batch_size=8"),
    )
    assert answer.code == 2
    assert "the data must be images of integer grey levels" in answer.err
    assert not Path("run").exists()
