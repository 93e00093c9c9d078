"""How-to pages: every block of Python and every command runs."""

from __future__ import annotations

import pytest
from pages import HOW_TO, execute

ANALYSED = ("reproduce",)
"""Pages that show the results of the analyses of an experiment."""


@pytest.mark.slow
@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_a_how_to_page_runs(page, tmp_path):
    assert execute(page, tmp_path, analyses=page.stem in ANALYSED) == ""
