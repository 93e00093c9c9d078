"""Parts of the pages: a panel with a line for errors, pictures, figures, tables and fields."""

import asyncio
import base64
import csv
import html
import io
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from nicegui import ui
from PIL import Image

from innflow.config.message import one_line
from innflow.errors import InnflowError
from innflow.system.explain import explain

T = TypeVar("T")
log = logging.getLogger(__name__)
_MODEL = ThreadPoolExecutor(1, thread_name_prefix="model")
"""One thread for all calls of the model, so that the page answers while one runs."""
ROWS = 20
"""Rows on a page of a table."""


class Panel:
    """Controls on the left; on the right results, or a line with an error.

    Attributes:
        controls: element for the fields.
        result: element that every call of `show` fills anew.
    """

    def __init__(self) -> None:
        with ui.element("div").classes("panel"):
            self.controls = ui.element("div").classes("controls")
            with ui.element("div").classes("results"):
                self._busy = ui.linear_progress(show_value=False).props("indeterminate")
                self._error = ui.label().classes("error").props("role=alert")
                self.result = ui.element("div").classes("result")
        self._busy.classes("busy quiet")
        self._error.visible = False
        self._next: tuple[Callable[[], Any], Callable[[Any], None]] | None = None
        self._running = False

    async def show(self, compute: Callable[[], T], draw: Callable[[T], None]) -> None:
        """Compute a result in the thread of the model and draw it.

        Of calls that come while another runs, only the last one is carried out.

        Args:
            compute: raises InnflowError, which is shown, where a value of the user is not valid.
            draw: makes the elements of a result.
        """
        self._next = (compute, draw)
        if self._running:
            return
        self._running = True
        self._busy.classes(remove="quiet")
        try:
            while self._next is not None:
                (compute, draw), self._next = self._next, None
                await self._show(compute, draw)
        finally:
            self._running = False
            self._busy.classes("quiet")

    async def _show(self, compute: Callable[[], T], draw: Callable[[T], None]) -> None:
        line, found = await in_thread(lambda: attempt(compute))
        self.result.clear()
        self._error.visible = bool(line)
        self._error.text = line
        if not line and found is not None:
            with self.result:
                draw(found)


async def in_thread(function: Callable[[], T]) -> T:
    """Return the result of a function that is called in the thread of the model."""
    return await asyncio.get_running_loop().run_in_executor(_MODEL, function)


def attempt(compute: Callable[[], T]) -> tuple[str, T | None]:
    """Return an empty line and the result of a function, or the line of its error and None."""
    try:
        return "", compute()
    except InnflowError as error:
        return one_line(error), None
    except Exception as error:
        if (line := explain(error)) is None:
            log.exception("a page failed")
            line = "internal error; the terminal has it"
        return line, None


def picture_url(image: np.ndarray) -> str:
    """Return an image (1 or 3, H, W) uint8 as the address of a PNG file that it contains."""
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return png_url(buffer.getvalue())


def png_url(content: bytes) -> str:
    """Return the address of a PNG file that it contains."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def pictures(images: np.ndarray, captions: Sequence[str], size: int = 112) -> None:
    """Show images (N, 1 or 3, H, W) uint8, each with a caption below it, `size` pixels wide."""
    tiles = "".join(
        f'<figure><img src="{picture_url(image)}" alt="{html.escape(caption)}" width="{size}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        for image, caption in zip(images, captions, strict=True)
    )
    ui.html(f'<div class="tiles">{tiles}</div>', sanitize=False)


def figure(png: bytes, description: str) -> None:
    """Show a figure with a text for those who cannot see it."""
    alt = html.escape(description)
    ui.html(f'<img class="figure" src="{png_url(png)}" alt="{alt}">', sanitize=False)


def table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], images: Sequence[str] = ()
) -> ui.table:
    """Show a table that can be sorted, 20 rows at a time; numbers are right-aligned.

    Args:
        columns: their titles.
        rows: of texts and numbers; of columns in `images`, addresses of pictures.
        images: titles of columns of pictures.
    """
    specification = []
    for at, title in enumerate(columns):
        number = bool(rows) and isinstance(rows[0][at], int | float)
        specification.append(
            {
                "name": f"c{at}",
                "label": title,
                "field": f"c{at}",
                "sortable": title not in images,
                "align": "right" if number else "left",
                ":format": NUMBER if number else "value => value",
            }
        )
    cells = [{"id": i, **{f"c{at}": v for at, v in enumerate(row)}} for i, row in enumerate(rows)]
    pages = ROWS if len(rows) > ROWS else None
    shown = ui.table(rows=cells, columns=specification, row_key="id", pagination=pages)
    for at, title in enumerate(columns):
        if title in images:
            slot = (
                '<q-td :props="props"><img v-if="props.value" :src="props.value" width="96"></q-td>'
            )
            shown.add_slot(f"body-cell-c{at}", slot)
    return shown.props("flat dense").classes("table")


NUMBER = (
    "value => value === null ? 'not finite' : Number.isInteger(value) ? String(value) : "
    "String(Number(value.toPrecision(4)))"
)


def note(text: str) -> None:
    """Show a line of explanation."""
    ui.label(text).classes("note")


def slider(
    name: str, least: float, most: float, step: float, value: float, changed: Any = None
) -> ui.slider:
    """Show a slider with its name and value above it."""
    with ui.element("div").classes("slider"):
        with ui.element("div").classes("slider-head"):
            ui.label(name)
            shown = ui.label()
        made = ui.slider(min=least, max=most, step=step, value=value, on_change=changed)
        made.props(f'aria-label="{name}"')
        shown.bind_text_from(made, "value", backward=lambda v: f"{v:g}")
    return made


def whole(name: str, value: float | None, least: int, most: int) -> int:
    """Return the integer in a field.

    Raises:
        InnflowError: if it is none, or out of range.
    """
    if value is None or value != int(value) or not least <= value <= most:
        shown = "blank" if value is None else f"{value:g}"
        raise InnflowError(f"{name} is {shown}: must be an integer from {least:,} to {most:,}")
    return int(value)


def download(name: str, columns: Sequence[str], rows: np.ndarray) -> None:
    """Show a button that saves rows (N, D) as a CSV file."""

    def save() -> None:
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        writer.writerow(columns)
        writer.writerows(rows.astype(str).tolist())
        ui.download.content(buffer.getvalue().encode(), name)

    ui.button(f"Save {name}", on_click=save).props("flat no-caps icon=download")
