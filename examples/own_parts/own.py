"""A data set, a coupling network, a model, a score, an application and an analysis of one's own."""

import numpy as np
import torch
from matplotlib.figure import Figure
from nflows.transforms.base import CompositeTransform
from torch import nn

from innflow.analysis import Analysis, Findings, Plot
from innflow.app import Density
from innflow.data.base import PartsDataModule
from innflow.data.sets import PartsSet, make_sets
from innflow.flow import ActNorm, Coupling, CouplingFlow, Permute
from innflow.score import Score


class Spiral(PartsDataModule):
    """Points on a spiral; a straight line serves as a set of outliers."""

    def __init__(self, n=5_000, noise=0.05, batch_size=256, holdout=0.05, workers=0, seed=0):
        super().__init__((2,), batch_size, holdout, workers, seed)
        self.n, self.noise = n, noise

    def load_sets(self):
        """Return the sets train, val and test, then the outliers."""
        rng = np.random.default_rng(self.seed)

        def draw(count):
            angle = 3 * np.pi * np.sqrt(rng.random(count))
            points = np.stack([angle * np.cos(angle), angle * np.sin(angle)], axis=1) / 5
            return torch.tensor(points + self.noise * rng.normal(size=points.shape)).float()

        train = PartsSet.numbered("train", "train", {"x": draw(self.n)})
        test = PartsSet.numbered("test", "inlier", {"x": draw(1_000)})
        line = torch.linspace(-2, 2, 200)
        outliers = {"x": torch.stack([line, torch.zeros(200)], dim=1)}
        sets = make_sets(train, test, self.holdout, self.seed, f"data.n={self.n}")
        return {**sets, "line": PartsSet.numbered("line", "outlier", outliers)}


class Wave(nn.Module):
    """A coupling network: maps (B, inputs) and a context (B, context) to (B, outputs)."""

    def __init__(self, inputs, outputs, context=0, frequencies=8):
        super().__init__()
        self.first = nn.Linear(inputs + context, frequencies)
        self.last = nn.Linear(2 * frequencies, outputs)
        nn.init.zeros_(self.last.weight)  # the coupling starts as the identity
        nn.init.zeros_(self.last.bias)

    def forward(self, x, context=None):
        """Return the parameters of the coupling."""
        h = self.first(x if context is None else torch.cat((x, context), dim=1))
        return self.last(torch.cat((h.sin(), h.cos()), dim=1))


def waves(shape, context=0, depth=8, subnet=Wave):
    """Return a model, a flow on vectors of this shape."""
    (features,) = shape
    steps = []
    for _ in range(depth):
        steps += [ActNorm(features), Permute(torch.arange(features).flip(0))]
        steps.append(Coupling(features, subnet, context=context))
    return CouplingFlow(shape, [CompositeTransform(steps)], [shape])


class Radius(Score):
    """Distance of the latent from the sphere on which most of a standard normal lies."""

    def fit(self, inliers):
        """Store the mean norm; attributes that end in an underscore are saved with the run."""
        self.mean_ = np.linalg.norm(inliers.latent, axis=1).mean()

    def __call__(self, items):
        """Return the scores, (N,)."""
        return np.abs(np.linalg.norm(items.latent, axis=1) - self.mean_)


class Watched(Density):
    """An application that logs one more metric of every step."""

    def step_metrics(self, stage, step):
        """Return the mean log-determinant."""
        return {f"{stage}/logabsdet": step.logabsdet.mean()}


class LatentNorms(Analysis):
    """An analysis: a number for metrics.json, a sentence and a figure for the report."""

    def __call__(self, study):
        """Return the findings."""
        norms = np.linalg.norm(study.measure("test").latent, axis=1)
        figure = Figure(figsize=(5, 3), layout="constrained")
        axes = figure.subplots()
        axes.hist(norms, bins=40)
        axes.set_xlabel("norm of the latent")
        axes.set_ylabel("test items")
        text = f"The latents of {len(norms):,} test items have a mean norm of {norms.mean():.2f}."
        plot = Plot(figure, "Norms of the latents of the test items.")
        return Findings(
            "Norms of latents", text, {"latent/norm": float(norms.mean())}, {"norms": plot}
        )
