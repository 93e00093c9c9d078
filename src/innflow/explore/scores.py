"""The page of scores: pictures or rows with score, p-value, class probabilities and anomaly map."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from nicegui import ui
from torch import Tensor

from innflow.app import Classification, Unconditional
from innflow.explore.parts import Panel, note, picture_url, pictures, table
from innflow.explore.run import Run
from innflow.explore.uploads import (
    MOST_BYTES,
    MOST_PICTURES,
    Files,
    parse_rows,
    read_pictures,
    read_vectors,
)
from innflow.figure.ood.heat_overlay import UNIT, choose_limits, overlay

MOST_ROWS = 1000
"""Rows of vectors that are shown; the rest is left out of the table."""
SHOWN_CLASSES = 3
"""Classes whose probability is shown."""
FOLDER = """
document.querySelectorAll('.folder input[type=file]').forEach(i => i.webkitdirectory = true)
"""


class Scored(NamedTuple):
    """Scored items: a column of each name, and pictures with their maps where there are any."""

    columns: dict[str, list[Any]]
    pictures: np.ndarray | None
    maps: list[np.ndarray]
    limits: tuple[float, float]


def build_scores(run: Run) -> None:
    """Build the page: uploads or rows of text on the left, a table on the right."""
    app = run.app
    assert isinstance(app, Unconditional)
    panel = Panel()

    async def show(compute: Callable[[], Scored]) -> None:
        await panel.show(compute, lambda found: _draw(app, found))

    async def receive(event: Any) -> None:
        files = [(each.name, await each.read()) for each in event.files]
        event.sender.reset()
        await show(lambda: _score_files(run, files))

    with panel.controls:
        if app.features is not None or run.is_images:
            _upload("pictures, or a zip of them", receive, "accept=image/*,.zip")
            _upload("a folder of pictures", receive, "accept=image/*").classes("folder")
            ui.timer(0.2, lambda: ui.run_javascript(FOLDER), once=True)
            note(f"At most {MOST_PICTURES} at a time. They are resized and cropped as in training.")
        elif run.is_vectors:
            names = app.feature_names("x", app.dims)
            _upload("a table: .csv, .npz or .parquet", receive, "accept=.csv,.npz,.parquet")
            text = ui.textarea("rows, one a line").classes("rows")
            example = ",".join(f"{value:.3g}" for value in app.sample(1, seed=0)[0].tolist())
            text.value = f"{','.join(names)}\n{example}"

            async def score_text() -> None:
                typed = text.value
                await show(lambda: score_items(run, parse_rows(app, typed)))

            ui.button("Score the rows", on_click=score_text).props("no-caps")
        if run.is_images or run.is_vectors:

            async def score_test() -> None:
                await show(lambda: score_items(run, app.to_data(run.test_items[:MOST_TEST])))

            ui.button("Score test items of the run", on_click=score_test).props("flat no-caps")
        if app.scorer is not None:
            items = app.scorer.calibration_items
            note(
                "p-value: share of inliers that are at least as anomalous, calibrated on "
                f"{items:,} inliers; the smallest possible is {1 / (items + 1):.2g}."
            )
        else:
            note("A checkpoint without fitted scores: log p(x) only.")


MOST_TEST = 24


def _upload(label: str, receive: Callable[[Any], Any], accept: str) -> ui.upload:
    made = ui.upload(
        label=label,
        multiple=True,
        auto_upload=True,
        max_total_size=MOST_BYTES,
        on_multi_upload=receive,
        on_rejected=lambda: ui.notify("not taken: another type of file, or too large"),
    )
    return made.props(f"flat bordered {accept}")


def _score_files(run: Run, files: Files) -> Scored:
    app = run.app
    assert isinstance(app, Unconditional)
    if app.features is None and len(app.shape) == 1:
        x = torch.cat([read_vectors(app, *file) for file in files])
        return score_items(run, x)
    if app.features is not None:
        images, names = read_pictures(files, app.features().size, 3)
    else:
        images, names = read_pictures(files, app.shape[1], app.shape[0])
    return score_items(run, app.to_data(torch.from_numpy(images)), images, names)


def score_items(
    run: Run,
    x: Tensor,
    images: np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> Scored:
    """Score data as `to_data` returns them, most anomalous first.

    Args:
        run: the run.
        x: (N, *shape).
        images: pictures (N, 1 or 3, H, W) uint8 from which the data come; x itself by default
            where it consists of pictures.
        names: of the items; their numbers by default.
    """
    app = run.app
    assert isinstance(app, Unconditional)
    if images is None and run.is_images:
        images = run.to_pictures(x.cpu().numpy())
    columns: dict[str, list[Any]] = {"item": list(names or [str(i) for i in range(len(x))])}
    order = np.arange(len(x))
    if app.scorer is not None:
        scores = app.score(x)
        columns["p-value"] = scores["p_value"].tolist()
        columns["score"] = scores["score"].tolist()
        order = np.argsort(-scores["score"], kind="stable")
    if isinstance(app, Classification):
        columns |= _class_columns(app, x)
    columns["log p(x), nats"] = app.log_prob(x).tolist()
    if images is None:
        values = x.cpu().numpy()
        for at, name in enumerate(app.feature_names("x", app.dims)):
            columns[name] = values[:, at].tolist()
    order = order[:MOST_ROWS]
    columns = {name: [values[i] for i in order] for name, values in columns.items()}
    if images is None or images.shape[1] not in (1, 3):
        return Scored(columns, None, [], (0.0, 1.0))
    images = images[order]
    if app.why_no_map():
        return Scored(columns, images, [], (0.0, 1.0))
    maps = app.anomaly_map(x).cpu().numpy()[order]
    limits = choose_limits(maps, [maps])
    shown = [overlay(image, heat, limits) for image, heat in zip(images, maps, strict=True)]
    return Scored(columns, images, shown, limits)


def _class_columns(app: Classification, x: Tensor) -> dict[str, list[Any]]:
    """Return the most probable class and its probability, and those that follow."""
    probability = app.classify(x).cpu()
    ranked = probability.argsort(dim=1, descending=True)
    found: dict[str, list[Any]] = {"class": [app.classes[i] for i in ranked[:, 0].tolist()]}
    found["p(class given x)"] = probability.gather(1, ranked[:, :1])[:, 0].tolist()
    rest = ranked[:, 1:SHOWN_CLASSES].tolist()
    found["then"] = [
        ", ".join(f"{app.classes[c]} {row[c]:.2g}" for c in others)
        for row, others in zip(probability.tolist(), rest, strict=True)
    ]
    return found


def _draw(app: Unconditional, found: Scored) -> None:
    columns, shown = dict(found.columns), []
    if found.pictures is not None:
        columns = {"picture": [picture_url(image) for image in found.pictures], **columns}
        shown = ["picture"]
    if found.maps:
        maps = [picture_url(image) for image in found.maps]
        columns = {"picture": columns.pop("picture"), "anomaly map": maps, **columns}
        shown.append("anomaly map")
    count = len(found.columns["item"])
    note(
        f"{count:,} item{'s' * (count > 1)}"
        + (", the most anomalous first." if app.scorer is not None else ".")
    )
    if found.maps:
        ramp = np.linspace(*found.limits, 256, dtype=np.float32)[None].repeat(2, axis=0)
        bar = overlay(np.full((1, 12, 256), 127, np.uint8), ramp, found.limits)
        low, high = found.limits
        with ui.element("div").classes("scale"):
            ui.label(f"{low:.2f}")
            pictures(bar[None], [""], 160)
            ui.label(f"{high:.2f}  {UNIT}")
    table(list(columns), list(zip(*columns.values(), strict=True)), shown)
