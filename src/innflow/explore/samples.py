"""The page of samples: temperature, seed, class, and draws from the density itself."""

import inspect
from typing import Any

import numpy as np
from nicegui import ui

from innflow.app import Classification, Unconditional
from innflow.errors import InnflowError
from innflow.explore.parts import Panel, download, figure, note, pictures, slider, table, whole
from innflow.explore.run import Run
from innflow.figure.posterior.pairs import MOST_PAIRS, plot_pairs
from innflow.figure.posterior.profile import plot_profile
from innflow.figure.style import to_png

MOST_IMAGES, MOST_VECTORS = 64, 20_000
SHOWN = 10
"""Rows of vectors that are shown."""
SEED = 2**32 - 1
ANY = "any"


def build_samples(run: Run) -> None:
    """Build the page: fields, and a button that draws."""
    app = run.app
    assert isinstance(app, Unconditional)
    most = MOST_IMAGES if run.is_images else MOST_VECTORS
    panel = Panel()
    label = exact = None
    with panel.controls:
        n = ui.number("number of samples", value=16 if run.is_images else 2000, min=1, max=most)
        temperature = slider("temperature", 0, 1.5, 0.05, 1)
        seed = ui.number("seed", value=0, min=0)
        if isinstance(app, Classification):
            label = ui.select([ANY, *app.classes], label="class", value=ANY)
        if "exact" in inspect.signature(app.sample).parameters:
            exact = ui.switch("from the density of the flow", value=False)
        button = ui.button("Draw").props("no-caps")
        note(
            "The temperature is a factor on the standard deviation of the latents: lower values "
            "give more typical and less varied samples."
        )

    async def draw() -> None:
        values, chosen = (n.value, temperature.value, seed.value), _options(app, label, exact)

        def compute() -> np.ndarray:
            count = whole("number of samples", values[0], 1, most)
            first = whole("seed", values[2], 0, SEED)
            return app.sample(count, values[1], first, **chosen).cpu().numpy()

        if run.is_images:
            await panel.show(lambda: run.to_pictures(compute()), _show_images)
        else:
            await _show_vectors(compute)

    async def _show_vectors(compute: Any) -> None:
        names = app.feature_names("x", app.dims)

        def compute_figure() -> tuple[np.ndarray, bytes]:
            drawn = compute()
            return drawn, plot_vectors(drawn, names)

        def show(found: tuple[np.ndarray, bytes]) -> None:
            drawn, png = found
            figure(png, f"Densities of the columns of {len(drawn):,} samples")
            note(f"The first {min(SHOWN, len(drawn))} of {len(drawn):,} samples:")
            table(names, drawn[:SHOWN].tolist())
            download("samples.csv", names, drawn)

        await panel.show(compute_figure, show)

    button.on_click(draw)
    ui.timer(0, draw, once=True)


def plot_vectors(rows: np.ndarray, names: list[str]) -> bytes:
    """Return the figure of vectors (N, D) as a PNG file.

    Raises:
        InnflowError: if a value is not finite.
    """
    if not np.isfinite(rows).all():
        raise InnflowError("some samples are not finite: lower the temperature")
    plot = plot_pairs if len(names) <= MOST_PAIRS else plot_profile
    return to_png(plot(rows, names))


def _options(app: Unconditional, label: Any, exact: Any) -> dict[str, Any]:
    """Return the arguments of `sample` that only some applications have."""
    found: dict[str, Any] = {}
    if isinstance(app, Classification) and label is not None and label.value != ANY:
        found["label"] = app.classes.index(label.value)
    if exact is not None:
        found["exact"] = exact.value
    return found


def _show_images(images: np.ndarray) -> None:
    pictures(images, [""] * len(images))
