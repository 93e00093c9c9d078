"""HTML pages rendered from the Jinja templates of this folder."""

import base64
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from innflow.system.file.atomic import writing


def write_page(path: Path, template: str, **values: Any) -> None:
    """Render a template of this folder into a file; the template escapes every value."""
    html = _environment().get_template(template).render(values)
    with writing(path) as file:
        file.write(html.encode("utf-8", "replace"))


def embed_png(png: bytes) -> str:
    """Return the bytes of a PNG file as the source of an `<img>`."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def format_number(value: Any) -> str:
    """Return a number with four significant digits; return other values as text."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 1e-3 or value == 0 else f"{value:.1e}"


def numeric_columns(rows: Sequence[Sequence[Any]], columns: Sequence[str]) -> list[bool]:
    """Return whether all cells of each column begin like numbers; such columns align right."""
    return [
        bool(rows) and all(str(row[index])[:1] in "-+.0123456789" for row in rows)
        for index in range(len(columns))
    ]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("innflow.run.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": format_number, "numeric_columns": numeric_columns}
    return environment
