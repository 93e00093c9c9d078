"""Real classifiers whose densities are known: the flow does nothing, the class part is all."""

from __future__ import annotations

import torch
from torch import Tensor

from analysis.linear import Bare, scorer
from innflow import Latent, Partition, flow
from innflow.analysis import Study
from innflow.app import Classification
from innflow.data.base import PartsSet
from innflow.data.image.digits import Digits
from innflow.data.toy.modes import EightModes
from innflow.flow import ActNorm, CouplingFlow
from innflow.latent.density import StandardNormal
from innflow.latent.mixture import ClassMixture


def known(means: Tensor, widths: Tensor) -> Classification:
    """Return the classifier whose classes are normals of these means (C, 2) and widths (C, 2)."""
    mixture = ClassMixture(len(means))
    app = Classification(
        CouplingFlow((2,), [ActNorm(2)], [(2,)]),
        Partition({"x": (2,)}, {"y": (2,)}),
        Latent({"y": mixture}),
    )
    with torch.no_grad():
        mixture.means.copy_(means)
        mixture.log_scales.copy_(widths.log())
    app.columns = {"label": [f"class {i}" for i in range(len(means))]}
    return app


def finished(app: Classification, data: object, sets: dict[str, PartsSet]) -> Study:
    study = Study(app, data, sets, scorer())
    study.fit_scorer()
    return study


def clouds(means: Tensor, widths: Tensor, spoilt: float = 1.0, n: int = 3000) -> Study:
    """Return a study of normal classes, by a flow whose widths are wrong by a factor."""
    generator = torch.Generator().manual_seed(0)
    sets = {}
    for name, role in (("train", "train"), ("val", "val"), ("test", "inlier")):
        label = torch.randint(len(means), (n,), generator=generator)
        x = means[label] + widths[label] * torch.randn(n, 2, generator=generator)
        names = [f"{name}/{i}" for i in range(n)]
        sets[name] = PartsSet(name, role, {"x": x, "label": label}, names)
    return finished(known(means, widths * spoilt), Bare(), sets)


def ring(labels: str = "all") -> Study:
    """Return a study of the eight modes; with every mode a class the flow is exact."""
    data = EightModes(labels=labels, n=1000, n_test=1000)
    count = len(data.classes)
    centres = torch.from_numpy(data.centres).float()
    means = torch.stack(
        [centres[torch.from_numpy(data.mode_labels == c)].mean(dim=0) for c in range(count)]
    )
    return finished(known(means, torch.full((count, 2), data.sigma)), data, data.sets())


def digits() -> Study:
    """Return a study of an untrained flow on a few digits."""
    data = Digits()
    sets = {
        name: PartsSet(
            name, items.role, {k: v[:60] for k, v in items.parts.items()}, items.names[:60]
        )
        for name, items in data.sets().items()
    }
    mixture = ClassMixture(10)
    app = Classification(
        flow.flat((1, 8, 8), depth=2, hidden=(8,)),
        Partition({"x": (1, 8, 8)}, {"z": (48,), "y": (16,)}),
        Latent({"z": StandardNormal(), "y": mixture}),
        levels=17,
    )
    app.columns = data.columns
    return finished(app, data, sets)
