"""The anomaly scores as functions of tensors, for programs that run without innflow."""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from innflow.score.base import COMPANIONS, Score
from innflow.score.combined import Combined
from innflow.score.distance import Mahalanobis, NearestNeighbours
from innflow.score.likelihood import BitsPerDim, Likelihood, NearestClass
from innflow.score.ratio import Ratio
from innflow.score.scale import LatentDistance, LatentNorm, LogDet, Scale
from innflow.score.scorer import Scorer, column
from innflow.score.typicality import Typicality
from innflow.score.waic import Waic

Tensors = Mapping[str, Tensor]
"""Arrays of `Measured.arrays` by name, in double precision."""


def _vectors(items: Tensors, of: str) -> Tensor:
    return items[of].flatten(1)


def _mahalanobis(score: Mahalanobis, items: Tensors) -> Tensor:
    deviation = _vectors(items, score.of) - score.mean_
    return (deviation @ score.whitening_.T).norm(dim=1)


def _neighbours(score: NearestNeighbours, items: Tensors) -> Tensor:
    found, train = _vectors(items, score.of), cast(Tensor, score.train_)
    if score.normalise:
        found = found / found.norm(dim=1, keepdim=True).clamp(min=1e-38)
    squares = found.square().sum(dim=1, keepdim=True) + train.square().sum(dim=1)
    squares = (squares - 2 * found @ train.T).clamp(min=0.0)
    return squares.topk(score.k, dim=1, largest=False).values.sqrt().mean(dim=1)


def _ratio(score: Ratio, items: Tensors) -> Tensor:
    other = items[f"{COMPANIONS}{score.against}"]
    if score.scale is None:
        return other.sum(dim=1) - items["log_prob"]
    return other[:, score.scale] - items["terms"][:, score.scale]


def _waic(score: Waic, items: Tensors) -> Tensor:
    known = [name.removeprefix(COMPANIONS) for name in items if name.startswith(COMPANIONS)]
    names = known if score.members is None else score.members
    others = [items[f"{COMPANIONS}{name}"].sum(dim=1) for name in names]
    log_probs = torch.stack([items["log_prob"], *others])
    mean = log_probs.mean(dim=0)
    return (log_probs - mean).square().sum(dim=0) / len(others) - mean


def _latent_norm(score: LatentNorm, items: Tensors) -> Tensor:
    latent = items["latent"]
    constant = 0.5 * latent.shape[1] * math.log(2 * math.pi)
    return 0.5 * latent.square().sum(dim=1) + constant


def _bits_per_dim(score: BitsPerDim, items: Tensors) -> Tensor:
    return -items["log_prob"] / (items["data"].shape[1:].numel() * math.log(2))


FUNCTIONS: Mapping[type[Score], Callable[[Any, Tensors], Tensor]] = {
    Likelihood: lambda score, items: -items["log_prob"],
    BitsPerDim: _bits_per_dim,
    NearestClass: lambda score, items: -items["class_log_prob"].amax(dim=1),
    Typicality: lambda score, items: (-items["log_prob"] - score.entropy_).abs(),
    Scale: lambda score, items: -items["terms"][:, score.index],
    LatentNorm: _latent_norm,
    LogDet: lambda score, items: -items["logabsdet"],
    LatentDistance: lambda score, items: (items["latent"] - score.mean_).norm(dim=1),
    Mahalanobis: _mahalanobis,
    NearestNeighbours: _neighbours,
    Ratio: _ratio,
    Waic: _waic,
}
"""Scores that are functions of tensors; others, such as the length of a file, are not."""


def list_portable(scorer: Scorer) -> list[str]:
    """Return the names of the scores of a fitted scorer that are functions of tensors.

    Example:
        >>> from innflow.score import Complexity
        >>> scores = {"likelihood": Likelihood(), "png": Complexity("png")}
        >>> list_portable(Scorer(scores, headline="likelihood"))
        ['likelihood']
    """
    plain = [name for name, score in scorer.scores.items() if type(score) in FUNCTIONS]
    sums = {name: score for name, score in scorer.scores.items() if type(score) is Combined}
    whole = [name for name, score in sums.items() if set(_used(score)) <= set(plain)]
    return [name for name in scorer.scores if name in plain or name in whole]


def _used(score: Combined) -> dict[str, tuple[float, float]]:
    """Return centre and weight of each part whose weight is not 0."""
    fitted = zip(score.scores, score.center_.tolist(), score.weights_.tolist(), strict=True)
    return {name: (center, weight) for name, center, weight in fitted if weight > 0}


class TensorScorer(nn.Module):
    """The columns of `Scorer.__call__` that are functions of tensors, as a module.

    `score` and `p_value` are missing where the headline score is not such a function.

    Args:
        scorer: fitted.

    Example:
        >>> from types import SimpleNamespace
        >>> import numpy as np
        >>> scorer = Scorer({"likelihood": Likelihood()}, headline="likelihood")
        >>> items = SimpleNamespace(log_prob=np.array([-1.0, -2.0, -3.0]))
        >>> scorer.fit(train=items, calibration=items)
        >>> TensorScorer(scorer)({"log_prob": torch.tensor([-2.5])})["p_value"]
        tensor([0.5000], dtype=torch.float64)
    """

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.headline, self.names = scorer.headline, list_portable(scorer)
        chosen = {name: scorer.scores[name] for name in self.names}
        self.sums = {name: _used(s) for name, s in chosen.items() if isinstance(s, Combined)}
        self.scores = {name: _copy(s) for name, s in chosen.items() if isinstance(s, Score)}
        for name in self.names:
            values = torch.as_tensor(scorer.calibration[name], dtype=torch.float64)
            self.register_buffer(f"calibration_{name}", values)

    def forward(self, items: Tensors) -> dict[str, Tensor]:
        """Return the columns, each (B,) float64."""
        found = {name: FUNCTIONS[type(s)](s, items) for name, s in self.scores.items()}
        for name, used in self.sums.items():
            parts = [(found[part] - center) * weight for part, (center, weight) in used.items()]
            found[name] = torch.stack(parts).sum(dim=0)
        p_values = {}
        for name in self.names:
            calibration = self.get_buffer(f"calibration_{name}")
            at_least = (calibration >= found[name][:, None]).sum(dim=1)
            p_values[column(name)] = (1 + at_least).double() / (len(calibration) + 1)
        headline = {}
        if self.headline in found:
            p_value = p_values[column(self.headline)]
            headline = {"score": found[self.headline], "p_value": p_value}
        named = {name: found[name] for name in self.names}
        return {**headline, "log_prob": items["log_prob"].double(), **named, **p_values}


def _copy(score: Score) -> Score:
    """Return a score whose fitted arrays are tensors in double precision."""
    copied = copy.copy(score)
    for name, values in score.state().items():
        if values.ndim:
            setattr(copied, name, torch.as_tensor(values, dtype=torch.float64))
    return copied
