"""Tutorials and how-to pages: every block of Python and every command runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import execute

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [
    *(page for folder in ("tutorials", "how-to") for page in sorted((DOCS / folder).glob("*.md"))),
    *(DOCS / "start.md", DOCS / "coming-from.md", DOCS / "explanation/partition.md"),
]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(DOCS).as_posix())
def test_a_page_runs(page, tmp_path):
    assert execute(page, tmp_path, analyses=page.parent.name == "tutorials") == ""
