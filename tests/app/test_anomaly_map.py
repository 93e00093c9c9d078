"""Maps sum to -log p, and are large at a defect that was pasted into a drawing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

import innflow
from innflow import flow
from innflow.app import Density, Generation
from innflow.data.image.drawing.draw import draw

SHAPE = (3, 8, 8)
FLOWS = {
    "glow": lambda: flow.glow(SHAPE, levels=2, depth=2, hidden=8),
    "spline": lambda: flow.glow(SHAPE, levels=1, depth=1, hidden=8, coupling="spline"),
    "realnvp": lambda: flow.realnvp(SHAPE, levels=2, depth=3, hidden=8),
    "patches": lambda: flow.patches(SHAPE, patch=4, depth=2, hidden=8),
    "tokens": lambda: flow.tokens(SHAPE, patch=4, depth=2, hidden=8),
    "maps": lambda: flow.maps(SHAPE, depth=2, hidden=8),
    "flat": lambda: flow.flat(SHAPE, depth=2, hidden=(8,)),
}


def disturbed(name: str) -> flow.CouplingFlow:
    built = FLOWS[name]()
    generator = torch.Generator().manual_seed(0)
    for parameter in built.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return built.double()


@pytest.mark.parametrize("name", FLOWS)
def test_the_sum_of_a_map_is_minus_the_log_density(name):
    app = Generation(disturbed(name))
    x = torch.randint(0, 256, (5, *SHAPE), dtype=torch.uint8)
    maps = app.anomaly_map(x)
    assert maps.shape == (5, 8, 8)
    torch.testing.assert_close(maps.sum(dim=(1, 2)), -app.log_prob(x), rtol=1e-10, atol=1e-8)


def test_a_pixel_changes_the_map_around_it():
    app = Density(disturbed("glow"))
    x = torch.randn(1, *SHAPE, dtype=torch.float64)
    other = x.clone()
    other[0, 1, 6, 1] += 3
    change = (app.anomaly_map(other) - app.anomaly_map(x))[0].abs()
    assert change.max() == change[6:, :2].max()


def test_what_has_no_positions_is_refused(refused):
    with refused("anomaly maps", "mixes all pixels", "model=glow"):
        mixing = flow.dense(SHAPE, levels=1, depth=1, hidden=(8,))
        Generation(mixing).anomaly_map(torch.zeros(1, *SHAPE, dtype=torch.uint8))
    with refused("anomaly maps", "the data have shape (2,)"):
        Density(flow.vector(2, depth=1)).anomaly_map(torch.zeros(1, 2))


@pytest.mark.parametrize(("texture", "least"), [("noise", 0.98), ("stripes", 0.9)])
def test_a_pasted_square_is_found_in_a_drawing(texture, least):
    # 0.996 and 0.924 with the flow of drawn shapes that comes with innflow.
    random = np.random.default_rng(0)
    pictures = [
        np.asarray(draw("cat", [5, i], 64).convert("RGB").resize((32, 32))) for i in range(40)
    ]
    x = np.stack(pictures).transpose(0, 3, 1, 2).copy()
    inside = np.zeros((len(x), 32, 32), dtype=bool)
    for i in range(len(x)):
        row, column = random.integers(2, 22, 2)
        square = np.s_[..., row : row + 8, column : column + 8]
        lines = np.broadcast_to((np.arange(8) // 2 % 2 * 160 + 50), (3, 8, 8))
        noise = random.integers(0, 256, (3, 8, 8))
        x[i][square] = noise if texture == "noise" else lines
        inside[i][square] = True
    maps = innflow.pretrained.load("drawn32").anomaly_map(x).numpy()
    areas = [roc_auc_score(m.ravel(), v.ravel()) for m, v in zip(inside, maps, strict=True)]
    assert np.mean(areas) > least
