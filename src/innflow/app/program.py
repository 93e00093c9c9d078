"""Inference of an application as modules of tensors, to be traced and run without innflow."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from innflow.app.application import Application, Unconditional
from innflow.app.classification import Classification
from innflow.app.density import Generation
from innflow.app.posterior.inverse import Inverse
from innflow.app.preprocess import Dequantization
from innflow.errors import InnflowError
from innflow.partition import PAD
from innflow.score.base import COMPANIONS
from innflow.score.scorer import Scorer
from innflow.score.tensors import TensorScorer, list_portable


@dataclass(frozen=True)
class Program:
    """A module from named tensors to a dict of named tensors, with a batch axis first.

    Attributes:
        module: called with the inputs by position.
        inputs: example of each input, two items or more.
        meaning: units of each input and output, by name.
        steps: smallest difference between values of an output that is discrete.
    """

    module: nn.Module
    inputs: Mapping[str, Tensor]
    meaning: Mapping[str, str]
    steps: Mapping[str, float]


class _Density(nn.Module):
    """x to log p(x), the latents, and the class probabilities where there are classes."""

    def __init__(self, app: Unconditional) -> None:
        super().__init__()
        self.app = app

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        arrays = self.app.measured_arrays(x)
        found = {"log_prob": arrays["log_prob"], "latent": arrays["latent"]}
        if isinstance(self.app, Classification):
            joint = arrays["class_log_prob"] + self.app.mixture.log_prior
            found["class_probability"] = joint.softmax(dim=1)
        return found


class _Scores(nn.Module):
    """x to the anomaly scores with their p-values."""

    def __init__(self, app: Unconditional, scorer: Scorer) -> None:
        super().__init__()
        self.app = app
        others = {
            name: other
            for name, other in app.companions.items()
            if cast(Unconditional, other).features is None  # features are not part of the program
        }
        self.companions = nn.ModuleDict(others)
        self.scorer = TensorScorer(scorer)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        arrays = self.app.measured_arrays(x)
        for name, companion in self.companions.items():
            other = cast(Unconditional, companion).measured_arrays(x)
            arrays[f"{COMPANIONS}{name}"] = other["terms"]
        return self.scorer({name: values.double() for name, values in arrays.items()})


class _Samples(nn.Module):
    """Standard normal numbers, and labels where there are classes, to data."""

    def __init__(self, app: Unconditional) -> None:
        super().__init__()
        self.app = app

    def forward(self, z: Tensor, label: Tensor | None = None) -> dict[str, Tensor]:
        right = _right(self.app, z, label)
        if isinstance(self.app, Generation) and self.app.fitted_latents is not None:
            right = self.app.fitted_latents.transform(right)
        joined, _ = self.app.flow.inverse(right)
        x = self.app.preprocessing.postprocess(self.app.partition.split("left", joined)["x"])
        return {"x": self.app.preprocessing.quantize(x)}


class _Posterior(nn.Module):
    """y and standard normal numbers to a draw of the left parts."""

    def __init__(self, app: Inverse) -> None:
        super().__init__()
        self.app = app

    def forward(self, y: Tensor, z: Tensor) -> dict[str, Tensor]:
        observed = self.app.y_units(y)
        context = self.app.partition.join_context({"y": observed})
        joined, _ = self.app.flow.inverse(_right(self.app, z, observed), context)
        left = self.app.partition.split("left", joined)
        drawn = {name: values for name, values in left.items() if name != PAD}
        return {**drawn, "x": self.app.x_units.inverse(left["x"])}


class _PosteriorDensity(nn.Module):
    """x and y to log p(x | y)."""

    def __init__(self, app: Inverse) -> None:
        super().__init__()
        self.app = app

    def forward(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        coordinates, volume = self.app.x_units(x, None)
        step = self.app({"x": coordinates}, {"y": self.app.y_units(y)})
        return {"log_prob": step.log_prob + volume}


def _right(app: Application, z: Tensor, target: Tensor | None) -> Tensor:
    """Return the joined right side (B, N) of standard normal numbers (B, N)."""
    parts = app.partition.split("right", z)
    made = {
        name: app.latent[name].from_normal(noise, 1.0, target if name == "y" else None)
        for name, noise in parts.items()
    }
    return app.partition.join("right", made)


def make_programs(app: Application, rows: int = 5) -> dict[str, Program]:
    """Return the programs of an application: log_prob, sample and score, or log_prob and posterior.

    `score` is there where the run has fitted scores, and `log_prob` of an inverse problem where
    p(x | y) has a closed form.

    Args:
        app: in evaluation mode, on the CPU.
        rows: number of items of the example inputs, at least 2.

    Raises:
        InnflowError: if the application draws random numbers that a program cannot take.

    Example:
        >>> from innflow import flow
        >>> from innflow.app import Density
        >>> programs = make_programs(Density(flow.vector(2, depth=2, hidden=(8,))))
        >>> list(programs)
        ['log_prob', 'sample']
        >>> programs["sample"].module(torch.zeros(3, 2))["x"].shape
        torch.Size([3, 2])
    """
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(rows, app.partition.features, generator=generator)
    if isinstance(app, Inverse):
        return _inverse_programs(app, z, generator)
    if not isinstance(app, Unconditional):
        raise InnflowError(f"{type(app).__name__}: has no programs; Density or Inverse have them")
    return _unconditional_programs(app, z)


def _unconditional_programs(app: Unconditional, z: Tensor) -> dict[str, Program]:
    if PAD in app.partition.left:
        raise InnflowError(
            f"the left side has padding, which log_prob draws at random: {app.partition}; "
            "use a partition without padding on the left"
        )
    images = isinstance(app.preprocessing, Dequantization)
    data = "uint8 grey levels" if images else "units of the data"
    meaning = {
        "x": f"{data}, {'x'.join(map(str, app.shape))}",
        "z": "standard normal numbers, times the temperature",
        "log_prob": "nats" + (", at the bin centres: repeatable, no bound" if images else ""),
        "latent": "latents of the flow",
        "class_probability": "p(class | x)",
        "p_value": "share of held-out inliers that are at least as anomalous",
        "score": "headline score, higher for more anomalous items",
        "label": "class, int64",
    }
    given = {"z": z}
    if isinstance(app, Classification):
        given["label"] = torch.arange(len(z)) % app.mixture.classes
    sample = Program(_Samples(app), given, meaning, {"x": 1.0} if images else {})
    with torch.no_grad():
        x = sample.module(*given.values())["x"]
    programs = {"log_prob": Program(_Density(app), {"x": x}, meaning, {}), "sample": sample}
    if app.scorer is not None:
        p_values = {
            name: 1.0 / (len(values) + 1)
            for score, values in app.scorer.calibration.items()
            for name in (f"{score}_p", "p_value")
        }
        programs["score"] = Program(_Scores(app, app.scorer), {"x": x}, meaning, p_values)
    return programs


def _inverse_programs(app: Inverse, z: Tensor, generator: torch.Generator) -> dict[str, Program]:
    if app.trials > 1:
        raise InnflowError(
            f"app.trials={app.trials}: the posterior is a mean over orders of the trials, drawn at "
            "random; train with app.trials=1"
        )
    if app.embedding is not None or app.others:
        kind = "an embedding of y" if app.embedding is not None else "an ensemble"
        raise InnflowError(f"{kind} has no program: train with embedding=none and ensemble=1")
    meaning = {
        "y": "observed data, " + ", ".join(app.feature_names("y", len(app.y_units.mean))),
        "z": "standard normal numbers, one row for each draw; repeat y for several draws",
        "x": "parameters, " + ", ".join(app.feature_names("x", app.shape[0])),
        "eps": "noise of the data",
        "log_prob": "log p(x | y) in nats, in the units of x",
    }
    standard = torch.randn(len(z), len(app.y_units.mean), generator=generator)
    given = {"y": app.y_units.inverse(standard), "z": z}
    steps = {"x": 1.0} if bool(app.x_units.discrete.any()) else {}
    posterior = Program(_Posterior(app), given, meaning, steps)
    programs = {"posterior": posterior}
    if set(app.partition.left) == {"x"}:
        with torch.no_grad():
            x = posterior.module(*given.values())["x"]
        density = Program(_PosteriorDensity(app), {"x": x, "y": given["y"]}, meaning, {})
        programs = {"log_prob": density, **programs}
    return programs


def list_left_out(app: Application) -> list[str]:
    """Return the columns of `Unconditional.score` that the program `score` does not have.

    They are those of scores that are not functions of tensors, such as the length of a file.
    """
    if not isinstance(app, Unconditional) or app.scorer is None:
        return []
    kept = list_portable(app.scorer)
    headline = [] if app.scorer.headline in kept else ["score", "p_value"]
    return [*headline, *(name for name in app.scorer.scores if name not in kept)]
