"""A run on features of a pretrained network, from pictures in folders to a score for each file."""

from __future__ import annotations

import csv

import numpy as np

import innflow
from innflow.checkpoint import COORDINATES
from innflow.config import build

RUN = (
    *("innflow-train", "+experiment=cats_embeddings", "+debug=fdr", "run_dir=run"),
    *("data.size=32", "data.batch_size=8", "data.components=null", "model.depth=1"),
    *("score=default", "~score.scores.bits_per_dim", "analysis=none"),
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


def test_without_its_coordinates_a_run_says_so(command, photographs, tmp_path):
    answer = command(*RUN, f"data.root={photographs}")
    assert answer.code == 0, answer.err
    (tmp_path / "here" / "run" / COORDINATES).unlink()
    answer = command("innflow-score", "run=run", f"input={photographs / 'val'}")
    assert answer.code == 2
    assert COORDINATES in answer.err
    assert len(answer.err.strip().splitlines()) == 1
