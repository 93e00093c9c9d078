"""Scores as functions of tensors give the columns of the scorer."""

from __future__ import annotations

import numpy as np
import torch

from innflow import score
from innflow.score.base import Measured
from innflow.score.tensors import TensorScorer, list_portable

SCORES = {
    "likelihood": score.Likelihood(),
    "bits_per_dim": score.BitsPerDim(),
    "nearest_class": score.NearestClass(),
    "typicality": score.Typicality(),
    "last_scale": score.Scale(index=-1),
    "latent_norm": score.LatentNorm(),
    "logdet": score.LogDet(),
    "latent_distance": score.LatentDistance(),
    "mahalanobis": score.Mahalanobis(components=3),
    "neighbours": score.NearestNeighbours(k=3, normalise=True),
    "latent_neighbours": score.NearestNeighbours(k=2, of="latent"),
    "ratio": score.Ratio("general"),
    "last_scale_ratio": score.Ratio("general", scale=-1),
    "waic": score.Waic(),
    "combined": score.Combined(["likelihood", "latent_distance", "ratio"]),
}


def measured(rng: np.random.Generator, items: int) -> Measured[np.ndarray]:
    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=(items, *shape)).astype(np.float32)

    terms = draw(2)
    companions = {"general": draw(2), "second": draw(2)}
    sums = (terms.sum(axis=1), terms, draw(), draw(8), draw(2, 2, 2))
    return Measured(*sums, companions=companions, class_log_prob=draw(3))


def test_every_column_is_that_of_the_scorer():
    rng = np.random.default_rng(0)
    scorer = score.Scorer(SCORES, headline="combined")
    scorer.fit(measured(rng, 60), measured(rng, 30))
    items = measured(rng, 9)
    tensors = {name: torch.tensor(values).double() for name, values in items.arrays().items()}
    expected, found = scorer(items), TensorScorer(scorer)(tensors)
    for constant in ("p_value_min", "calibration_items"):
        del expected[constant]
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name].numpy(), values, rtol=2e-5, err_msg=name)


def test_a_score_of_files_is_left_out_with_the_sums_that_need_it():
    rng = np.random.default_rng(0)
    scores = {
        "likelihood": score.Likelihood(),
        "png": score.Complexity("png"),
        "combined": score.Combined(["likelihood", "png"]),
        "alone": score.Combined(["likelihood"]),
    }
    scorer = score.Scorer(scores, headline="combined")

    def pictures(items: int) -> Measured[np.ndarray]:
        levels = rng.integers(0, 256, (items, 1, 8, 8), dtype=np.uint8)
        rest = [rng.normal(size=shape) for shape in ((items,), (items, 1), (items,), (items, 2))]
        return Measured(*rest, levels)

    scorer.fit(pictures(60), pictures(30))
    scores["combined"].weights_ = np.array([0.5, 0.5])
    assert list_portable(scorer) == ["likelihood", "alone"]
    tensors = {name: torch.tensor(v).double() for name, v in pictures(4).arrays().items()}
    names = ["log_prob", "likelihood", "alone", "likelihood_p", "alone_p"]
    assert list(TensorScorer(scorer)(tensors)) == names
