"""A small Glow with random couplings, on drawn pictures."""

from __future__ import annotations

import torch

from analysis.linear import Bare, images, make_set, scorer
from innflow.analysis import Study
from innflow.app import Generation
from innflow.flow import glow

SIZE = 8


def small_glow(channels: int = 3, seed: int = 0) -> Generation:
    """Return two levels of two couplings with random networks, for pixels of 256 levels."""
    torch.manual_seed(seed)
    app = Generation(glow((channels, SIZE, SIZE), levels=2, depth=2, hidden=8))
    app.flow.initialise(app.preprocess({"x": images(64, channels, 0)}, None)["x"])
    with torch.no_grad():
        # Couplings start as the identity.
        for parameter in app.flow.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return app.eval()


def flow_study(channels: int = 3, outliers: int = 2, **settings) -> Study:
    sets = {
        "train": make_set("train", "train", images(80, channels, 0)),
        "val": make_set("val", "val", images(8, channels, 1)),
        "test": make_set("test", "inlier", images(40, channels, 2)),
    }
    for number, (name, contrast) in enumerate([("dog", 45.0), ("ball", 90.0)][:outliers]):
        sets[name] = make_set(name, "outlier", images(20, channels, 3 + number, contrast))
    study = Study(small_glow(channels), Bare(), sets, scorer(), **settings)
    study.fit_scorer()
    return study
