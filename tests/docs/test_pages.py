"""Blocks of the pages that run: mistakes are found, and nothing is left out without a reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pages import (
    DOCS,
    FIRST,
    HOW_TO,
    NOT_RUN,
    TUTORIALS,
    blocks,
    execute,
    reason_not_run,
    shell_lines,
)

PAGES = [*TUTORIALS, *HOW_TO, *FIRST]


def name_of(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


MISTAKES = {
    "```python\nx = [1, 2\n```\n": "SyntaxError",
    "```python\nimport innflow\n```\n\n```python\ninnflow.lode('outputs')\n```\n": "lode",
    "```python\n# m.py\nx = 1\n```\n\n```python\nfrom m import y\n```\n": "ImportError",
    "```bash\nls photo.png \\\n    missing\n```\n": "ended with exit code 2",
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.items(), ids=MISTAKES.values())
def test_a_mistake_on_a_page_is_found(text, message, tmp_path):
    (tmp_path / "page.md").write_text(text)
    assert message in execute(tmp_path / "page.md", tmp_path, analyses=False)


@pytest.mark.slow
def test_a_mistake_in_a_command_of_innflow_is_found(tmp_path):
    (tmp_path / "page.md").write_text(
        "```bash\ninnflow-train +experiment=moons model.dept=4\n```\n"
    )
    assert "did you mean model.depth" in execute(tmp_path / "page.md", tmp_path, analyses=False)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_are_in_blocks_that_run(page):
    found = blocks(page.read_text())
    assert {block.language for block in found} <= {"python", "bash", "yaml", "text"}
    others = [block.code for block in found if block.language in ("text", "yaml")]
    assert not re.search(r"^(innflow|python|pip|import|from) ?", "\n".join(others), re.MULTILINE)


def test_every_exception_is_needed():
    lines = [
        line
        for page in PAGES
        for block in blocks(page.read_text())
        if block.language == "bash"
        for line in shell_lines(block.code)
    ]
    left_out = [line for line in lines if reason_not_run(line)]
    assert 0 < len(left_out) < len(lines) / 5
    for pattern in NOT_RUN:
        assert any(re.search(pattern, line) for line in left_out), pattern


def test_every_page_is_in_its_index():
    for folder in ("tutorials", "how-to", "explanation", "reference", "reference/api"):
        index = (DOCS / folder / "index.md").read_text()
        for page in (DOCS / folder).glob("*.md"):
            assert page.name == "index.md" or f"({page.name})" in index, page
