"""Tutorials, and the pages of the first minute: every block of Python and every command runs."""

from __future__ import annotations

import pytest
from pages import FIRST, TUTORIALS, execute


@pytest.mark.slow
@pytest.mark.parametrize("page", [*TUTORIALS, *FIRST], ids=lambda page: page.stem)
def test_a_tutorial_runs(page, tmp_path):
    assert execute(page, tmp_path, analyses=page in TUTORIALS) == ""
