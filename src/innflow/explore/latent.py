"""The pages of latent space: principal components, and paths from one item to another."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from nicegui import ui
from torch import Tensor

from innflow.analysis.latent.interpolation import linear, spherical
from innflow.app import Unconditional
from innflow.errors import InnflowError
from innflow.explore.parts import Panel, note, pictures, slider, table, whole
from innflow.explore.run import COMPONENTS, MOST_ITEMS, Run
from innflow.explore.samples import SEED
from innflow.explore.uploads import parse_rows, read_pictures

STEPS = 9
REACH = 3.0
"""Length of a path along a component to each side, in standard deviations."""
SAMPLE, TEST, OWN = "sample", "test item", "your own"


class ItemPicker:
    """Fields that choose one item: a sample by its seed, a test item by its number, or one's own.

    Args:
        run: the run.
        title: above the fields.
        seed: of the sample that is chosen first.
        changed: called after every change.
    """

    def __init__(self, run: Run, title: str, seed: int, changed: Callable[[], Any]) -> None:
        self.run = run
        self._file: tuple[str, bytes] | None = None
        ui.label(title).classes("title")
        self._source = ui.toggle([SAMPLE, TEST, OWN], value=SAMPLE, on_change=changed)
        self._source.props("no-caps dense unelevated")
        self._number = ui.number("seed", value=seed, min=0, on_change=changed)
        self._number.bind_visibility_from(self._source, "value", lambda value: value != OWN)
        if run.is_images:
            own: Any = ui.upload(label="a picture", auto_upload=True, on_upload=self._receive)
            own.props("flat bordered accept=image/*")
        else:
            own = ui.input("values, separated by commas", on_change=changed)
        own.bind_visibility_from(self._source, "value", lambda value: value == OWN)
        self._own, self._changed = own, changed
        self._source.on_value_change(self._rename)

    def _rename(self) -> None:
        self._number.props(f"label='{'number' if self._source.value == TEST else 'seed'}'")

    async def _receive(self, event: Any) -> None:
        self._file = (event.file.name, await event.file.read())
        self._own.reset()
        await self._changed()

    def read(self) -> Callable[[], Tensor]:
        """Return a function that computes the chosen item, (1, *shape)."""
        app, run = self.run.app, self.run
        assert isinstance(app, Unconditional)
        source, number, file = self._source.value, self._number.value, self._file
        text = "" if run.is_images else self._own.value or ""

        def compute() -> Tensor:
            if source == SAMPLE:
                return app.sample(1, seed=whole("seed", number, 0, SEED))
            if source == TEST:
                at = whole("number of the test item", number, 0, MOST_ITEMS - 1)
                if at >= len(run.test_items):
                    raise InnflowError(f"there are {len(run.test_items):,} test items, from 0")
                return app.to_data(run.test_items[at : at + 1])
            if not run.is_images:
                return parse_rows(app, text)[:1]
            if file is None:
                raise InnflowError("give a picture")
            return torch.from_numpy(read_pictures([file], app.shape[1], app.shape[0])[0])

        return compute


def build_directions(run: Run) -> None:
    """Build the page that moves an item along principal components of the latents."""
    app = run.app
    assert isinstance(app, Unconditional)
    panel = Panel()
    sliders: list[ui.slider] = []

    async def update() -> None:
        item, amounts = start.read(), [each.value for each in sliders]

        def compute() -> tuple[np.ndarray, np.ndarray, list[float]]:
            fitted, origin = run.principal, item()
            count = min(len(sliders), len(fitted.deviations))
            z = app.encode(origin)
            deviations = fitted.deviations[:count].to(z)
            steps = deviations * torch.tensor(amounts[:count]).to(z)
            moved = z + steps @ fitted.axes[:count].to(z)
            return origin.cpu().numpy(), app.decode(moved).cpu().numpy(), deviations.tolist()

        def draw(found: tuple[np.ndarray, np.ndarray, list[float]]) -> None:
            origin, moved, deviations = found
            _show(run, np.concatenate([origin, moved]), ["start", "moved"], 256)
            shown = ", ".join(f"{each:.2f}" for each in deviations)
            note(f"Standard deviations along the components, in latent space: {shown}.")
            if len(deviations) < len(sliders):
                note(f"There are {len(deviations)} components; the other sliders do nothing.")

        await panel.show(compute, draw)

    async def reset() -> None:
        for each in sliders:
            each.value = 0

    with panel.controls:
        start = ItemPicker(run, "Start", 0, update)
        ui.label("Principal components").classes("title")
        for number in range(min(COMPONENTS, app.dims - 1)):
            name = f"component {number + 1}, in sd"
            sliders.append(slider(name, -REACH, REACH, 0.1, 0, update))
        ui.button("Back to the start", on_click=reset).props("flat no-caps")
        note(
            "Components are those of the latents of data: the first has the largest variance. "
            f"A slider moves by up to {REACH:g} standard deviations."
        )
    ui.timer(0, update, once=True)


def build_morph(run: Run) -> None:
    """Build the page of paths in latent space from one item to another."""
    app = run.app
    assert isinstance(app, Unconditional)
    panel = Panel()

    async def update() -> None:
        first, last, path = start.read(), end.read(), spherical if arc.value else linear

        def compute() -> np.ndarray:
            ends = app.encode(torch.cat([first(), last()])).cpu().numpy()
            z = path(ends[0], ends[1], np.linspace(0, 1, STEPS))
            return app.decode(torch.from_numpy(z)).cpu().numpy()

        shares = [f"{share:.0%}" for share in np.linspace(0, 1, STEPS)]
        await panel.show(compute, lambda found: _show(run, found, shares, 112))

    with panel.controls:
        start = ItemPicker(run, "From", 0, update)
        end = ItemPicker(run, "To", 1, update)
        arc = ui.switch("spherical path", on_change=update)
        note(
            "A straight path is the safe choice. A spherical one keeps the norm of the latents, "
            "which gives sharper items in the middle if the flow is well trained."
        )
    ui.timer(0, update, once=True)


def _show(run: Run, items: np.ndarray, captions: list[str], size: int) -> None:
    """Show items (N, *shape): pictures, or rows of a table."""
    if run.is_images:
        pictures(run.to_pictures(items), captions, size)
        return
    assert isinstance(run.app, Unconditional)
    names = run.app.feature_names("x", run.app.dims)
    table(["", *names], [[name, *row] for name, row in zip(captions, items.tolist(), strict=True)])
