"""The pages: links lead to files, and commands name experiments and options that exist."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from innflow.config.build import compose_config
from innflow.config.resolvers import register_resolvers

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
PAGES = [
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/**/*.md")),
    *sorted(ROOT.glob("experiments/**/README.md")),
    *sorted(ROOT.glob("benchmarks/*.md")),
]
HEADERS = sorted(CONF.glob("experiment/*.yaml"))
ARCHITECTURE = ROOT / "docs/architecture.md"


def groups(conf: Path) -> dict[str, set[str]]:
    """Return the options of every group below a folder of configs."""
    found: dict[str, set[str]] = {}
    for path in [*conf.glob("*/*.yaml"), *conf.glob("hydra/*/*.yaml")]:
        found.setdefault(path.parent.relative_to(conf).as_posix(), set()).add(path.stem)
    return found


GROUPS, OWN = groups(CONF), groups(ROOT / "examples/own_parts/conf")
GROUPS["hydra/launcher"].add("joblib")  # of the plugin hydra-joblib-launcher
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
CHOICE = re.compile(
    rf"(?<![\w./=@-])\+?({'|'.join(sorted(GROUPS, key=len, reverse=True))})(?:@[\w.]+)?="
    r"(\[[\w,]+\]|(?!NAME\b|GROUP\b|OPTION\b)[A-Za-z_]\w*)"
)
PYTHON = re.compile(r"^```python$.*?^```$", re.MULTILINE | re.DOTALL)
PATH = re.compile(r"`([\w.-]+/(?:[\w.-]+/)*|(?:[\w.-]+/)*[\w-]+\.(?:py|yaml|j2|toml|md))`")
UNBUILT = "<!-- check -->"
"""End of a line about files that another change brings."""


def broken_links(text: str, folder: Path) -> list[str]:
    """Return the relative links of a page that lead to no file."""
    targets = LINK.findall(FENCE.sub("", text))
    return [link for link in targets if "://" not in link and not (folder / link).exists()]


def unknown_choices(text: str) -> list[str]:
    """Return every `group=option` of a text whose option is neither in conf/ nor on the page."""
    found = []
    own = {group: set(names) for group, names in OWN.items()}
    for group, name in re.findall(r"^# conf/([\w/]+)/(\w+)\.yaml$", text, re.MULTILINE):
        own.setdefault(group, set()).add(name)
    for group, options in CHOICE.findall(PYTHON.sub("", text)):
        names = options.strip("[]").split(",")
        found += [
            f"{group}={name}" for name in names if name not in GROUPS[group] | own.get(group, set())
        ]
    return found


def missing_paths(text: str) -> list[str]:
    """Return the files and folders named in code spans that are neither in src/innflow nor here."""
    lines = [line for line in text.splitlines() if UNBUILT not in line]
    named = PATH.findall("\n".join(lines))
    homes = (ROOT / "src/innflow", ROOT)
    return [path for path in named if not any((home / path).exists() for home in homes)]


def commands(text: str) -> list[list[str]]:
    """Return the overrides of every `innflow-train` command of a page that composes one config."""
    found = []
    for line in re.sub(r"\\\n\s*", "", text).splitlines():
        if line.startswith("innflow-train ") and "..." not in line and "=NAME" not in line:
            words = shlex.split(re.split(r"\s{2,}| #", line)[0])[1:]
            if not any(word.startswith(("-", "hydra/")) for word in words):
                found.append(words)
    return found


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files(page):
    assert broken_links(page.read_text(), page.parent) == []


@pytest.mark.parametrize("page", [*PAGES, *HEADERS, ROOT / "Makefile"], ids=name_of)
def test_options_of_config_groups_exist(page):
    assert unknown_choices(page.read_text()) == []


def test_every_experiment_is_named_on_a_page():
    text = "\n".join(page.read_text() for page in PAGES)
    named = {option for group, option in CHOICE.findall(text) if group == "experiment"}
    assert named - OWN["experiment"] == GROUPS["experiment"]


def test_every_page_of_an_experiment_is_linked():
    listed = (ROOT / "experiments/README.md").read_text()
    for folder in {page.parent.name for page in PAGES if page.parent.parent.name == "experiments"}:
        assert f"({folder})" in listed, folder


def test_paths_on_the_architecture_page_exist():
    text = ARCHITECTURE.read_text()
    assert len(PATH.findall(text)) > 50
    assert missing_paths(text) == []


def test_every_package_is_on_the_architecture_page():
    text = ARCHITECTURE.read_text()
    for folder in (ROOT / "src/innflow").iterdir():
        if (folder / "__init__.py").exists():
            assert f"| `{folder.name}/` |" in text, folder.name


def test_the_reference_is_that_of_docstrings_and_configs(tmp_path):
    runpy.run_path(str(ROOT / "docs/write_reference.py"))["write"](tmp_path)
    for page in ("commands.md", "configuration.md"):
        current = (ROOT / "docs/reference" / page).read_text()
        assert (tmp_path / page).read_text() == current, "run python docs/write_reference.py"


def test_llms_txt_leads_to_pages():
    text = (ROOT / "docs/llms.txt").read_text()
    listed = set(LINK.findall(text))
    assert broken_links(text, ROOT / "docs") == []
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in ROOT.glob("docs/**/*.md")}
    assert {page for page in pages if "/" not in page or "index" in page} <= listed


@pytest.mark.slow
def test_the_site_is_built_without_warnings(tmp_path):
    pytest.importorskip("sphinx", reason="pip install 'innflow[docs]'")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-c", "docs"]
    places = ["-d", str(tmp_path / "doctrees"), ".", str(tmp_path / "site")]
    built = subprocess.run([*command, *places], cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    pages = [page.read_text() for page in (tmp_path / "site").rglob("*.html")]
    assert len(pages) > 100
    fetched = re.compile(r"(?:src=|<link[^>]*href=|url\()[\"']?https?://")
    assert [page for page in pages if fetched.search(page)] == []  # it opens without a network


def test_the_first_example_of_the_readme_runs():
    block = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)[0]
    assert "range(500)" in block
    names: dict[str, torch.Tensor] = {}
    exec(block.replace("range(500)", "range(2)"), names)
    assert names["loss"].isfinite()
    assert names["samples"].shape == (1000, 2)


@pytest.mark.slow
def test_commands_compose():
    register_resolvers()
    lines = [words for page in PAGES for words in commands(page.read_text())]
    assert len(lines) > 50
    for words in lines:
        compose_config("train", words)


@pytest.mark.parametrize(
    ("check", "text", "found"),
    [
        (lambda text: broken_links(text, ROOT), "see [a](docs/none.md#b)", ["docs/none.md"]),
        (lambda text: broken_links(text, ROOT), "[a](README.md#b), [c](https://d.e)", []),
        (unknown_choices, "innflow-train +experiment=cats_odd", ["experiment=cats_odd"]),
        (unknown_choices, "`model=glue`, `+extra=[ema,find_rl]`", ["model=glue", "extra=find_rl"]),
        (
            unknown_choices,
            "subnet@model.subnet=conv hydra/launcher=slrum",
            ["hydra/launcher=slrum"],
        ),
        (unknown_choices, "data.root=DIR data=moons companions.general=RUN n=100", []),
        (
            missing_paths,
            "`flow/couplings.py` and `flow/`, `conf/models/`",
            ["flow/couplings.py", "conf/models/"],
        ),
        (missing_paths, f"| `flow/couplings.py` {UNBUILT} |", []),
        (unknown_choices, "# conf/model/mine.yaml\nmodel=mine data=mine", ["data=mine"]),
    ],
)
def test_a_planted_mistake_is_found(check, text, found):
    assert check(text) == found
