"""The page of posteriors: fields for observed data, and the posterior given what is in them."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from nicegui import ui

from innflow.analysis.posterior.local_calibration import LEVEL, read_local_test, standardize
from innflow.analysis.posterior.resimulation import build_forward_model, resimulate
from innflow.app import Inverse
from innflow.errors import InnflowError
from innflow.explore.parts import Panel, download, figure, note, table, whole
from innflow.explore.run import Run
from innflow.explore.samples import SEED
from innflow.explore.uploads import parse_numbers
from innflow.figure.posterior.pairs import MOST_PAIRS, plot_pairs
from innflow.figure.posterior.profile import plot_profile, plot_resimulation
from innflow.figure.style import to_png
from innflow.metric.summary import compute_summary

MOST_FIELDS = 24
"""Values of y with a field each; more are in one field of text."""
MOST_DRAWS, RESIMULATED = 100_000, 1_000
MISSPECIFIED = 0.01


class Result(NamedTuple):
    """Posterior draws at an observation, with figures and the lines above them."""

    x: np.ndarray
    rows: list[list[object]]
    lines: list[str]
    marginals: bytes
    resimulation: bytes | None


def build_posterior(run: Run) -> None:
    """Build the page: fields with a test observation, and a button that draws."""
    app = run.app
    assert isinstance(app, Inverse)
    names = app.feature_names("y", len(app.y_units.mean))
    held = run.simulations
    panel = Panel()
    with panel.controls:
        if held is not None:
            number = ui.number("test observation", value=0, min=0, max=len(held["y"]) - 1)
        if len(names) <= MOST_FIELDS:
            fields = [ui.input(name).props("dense") for name in names]
        else:
            fields = [ui.textarea(f"{len(names)} values of y, separated by commas").classes("rows")]
        n = ui.number("number of draws", value=2000, min=1, max=MOST_DRAWS)
        seed = ui.number("seed", value=0, min=0)
        button = ui.button("Draw the posterior").props("no-caps")
        if app.accepts_missing:
            note("A blank is a missing value.")
        if held is None:
            note("The run folder has no test observations; the fields begin with a typical y.")

    def fill(y: np.ndarray) -> None:
        texts = ["" if np.isnan(value) else f"{value:.6g}" for value in y]
        for field, text in zip(
            fields, texts if len(fields) > 1 else [", ".join(texts)], strict=True
        ):
            field.value = text

    async def choose() -> None:
        if held is not None and number.value is not None:
            fill(held["y"][min(int(number.value), len(held["y"]) - 1)])
            await draw()

    async def draw() -> None:
        texts = [field.value for field in fields]
        if len(texts) < len(names):
            texts = texts[0].split(",")
        typed = (n.value, seed.value)
        at = None if held is None or number.value is None else int(number.value)

        def compute() -> Result:
            if len(texts) != len(names):
                raise InnflowError(f"{len(texts)} values for the {len(names)} of y")
            y = parse_numbers(texts, names, app.accepts_missing)
            count = whole("number of draws", typed[0], 1, MOST_DRAWS)
            truth = None
            if held is not None and at is not None and at < len(held["y"]):
                same = np.allclose(held["y"][at], y.numpy(), rtol=1e-5, equal_nan=True)
                truth = held["x"][at] if same else None
            return infer(run, y, count, whole("seed", typed[1], 0, SEED), truth)

        await panel.show(compute, lambda found: _draw(app, found))

    if held is not None:
        number.on_value_change(choose)
        fill(held["y"][0])
    else:
        fill(app.y_units.inverse(torch.zeros_like(app.y_units.mean)).cpu().numpy())
    button.on_click(draw)
    ui.timer(0, draw, once=True)


def infer(run: Run, y: torch.Tensor, n: int, seed: int, truth: np.ndarray | None) -> Result:
    """Draw from the posterior at data y (M,) and describe the draws.

    Args:
        run: of an inverse problem.
        y: NaN where a value is missing.
        n: number of draws.
        seed: of the draws.
        truth: (P,) true parameters, if known.
    """
    app = run.app
    assert isinstance(app, Inverse)
    x = app.posterior(y, n, seed).cpu()
    names, draws = app.feature_names("x", app.shape[0]), x.numpy()
    summary = compute_summary(draws)
    columns = [summary.mean, summary.sd, *summary.quantiles[[0, 2, 4]]]
    columns += [] if truth is None else [truth.astype(float)]
    rows: list[list[object]] = [
        [name, *map(float, values)] for name, *values in zip(names, *columns, strict=True)
    ]
    if len(names) <= MOST_PAIRS:
        limits = torch.stack((app.x_units.low, app.x_units.high), dim=1).cpu().numpy()
        marginals = plot_pairs(draws, names, truth=truth, limits=limits)
    else:
        marginals = plot_profile(draws, names, truth=truth)
    lines = _checks(run, y, seed)
    resimulation, line = _resimulate(run, x, y, seed)
    return Result(draws, rows, [*lines, line], to_png(marginals), resimulation)


def _checks(run: Run, y: torch.Tensor, seed: int) -> list[str]:
    """Return lines with the p-values of the tests of the observation and of its posterior."""
    app = run.app
    assert isinstance(app, Inverse)
    p = float(app.misspecification_p(y)[0])
    found = f"Misspecification p = {p:.2g}"
    if p < MISSPECIFIED:
        found += ": y is unlike all simulated data, the posterior is an extrapolation"
    lines = [f"{found}."]
    if (test := read_local_test(app, Path(run.path), seed)) is not None:
        p = float(test(standardize(app, y[None])[0]))
        verdict = "not calibrated at this y" if p < LEVEL else "no miscalibration found at this y"
        lines.append(f"L-C2ST p = {p:.2g}: {verdict}.")
    return lines


def _resimulate(run: Run, x: torch.Tensor, y: torch.Tensor, seed: int) -> tuple[bytes | None, str]:
    """Return the figure of resimulated data, if there is a trusted forward model, and a line."""
    app = run.app
    assert isinstance(app, Inverse)
    data = build_forward_model(app, run.trust, run.path)
    if data is None:
        return None, "No resimulation: the run has no forward model, or its code is not trusted."
    (found,) = resimulate(data, [x[:RESIMULATED]], y[None].numpy(), seed)
    if not len(found.y):
        return None, "No resimulation: no draw gives finite data."
    noise = None if data.noise is None else data.noise.norm(dim=1).numpy()
    names = app.feature_names("y", len(y))
    png = to_png(plot_resimulation(names, y.numpy(), found.y, noise))
    return png, f"Resimulation of {len(found.y):,} draws: mean |f(x) - y|² = {found.error:.3g}."


def _draw(app: Inverse, found: Result) -> None:
    for line in found.lines:
        note(line)
    titles = ["parameter", "mean", "sd", "2.5%", "50%", "97.5%", "truth"]
    table(titles[: len(found.rows[0])], found.rows)
    figure(found.marginals, "Marginal densities of the posterior, of parameters and of pairs")
    if found.resimulation is not None:
        figure(found.resimulation, "Resimulated data of the posterior draws minus the observation")
    download("posterior.csv", app.feature_names("x", app.shape[0]), found.x)
