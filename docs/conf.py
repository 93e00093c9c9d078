"""Settings of the site, for which Sphinx reads docs/, experiments/ and benchmarks/.

Pages are plain Markdown that also reads well in the repository. The lists of links in index pages
are the navigation, and links to folders lead to their README.
"""

import os
import re
from importlib import import_module
from pathlib import Path

import innflow

ROOT = Path(__file__).parents[1]
project, author, release = "innflow", "the authors of innflow", innflow.__version__
project_copyright = "the authors of innflow, Apache 2.0"
root_doc = "docs/index"
include_patterns = ["docs/**", "experiments/**.md", "benchmarks/*.md", "*.md"]
exclude_patterns = [".*", "build", "data", "outputs", "multirun", "src", "tests", "README.md"]
exclude_patterns += ["docs/_build", "docs/site", "wandb", "mlruns", "*.egg-info"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]

myst_heading_anchors = 4
highlight_language = "none"
default_role = "code"  # single backticks in docstrings
nitpicky = False
autodoc_member_order = "groupwise"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
napoleon_use_rtype = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = "innflow"
html_static_path = ["site/static"]
html_css_files = ["site.css"]
html_extra_path = ["site/root"]
html_copy_source = False

LINK = re.compile(r"\]\(([^)#\s:]+?)/?(#[^)]*)?\)")
ITEM = re.compile(r"^(?:- |\| ).*", re.MULTILINE)
LINKS = re.compile(r"\]\(([^)#\s:]+\.md)\)")
TITLED = re.compile(r"\[([^][]+)\]\(([^)#\s:]+\.md)\)")


def to_pages(app, name, source):
    """Lead links to folders to their README, and list the pages of an index as its children."""
    folder = (ROOT / name).parent

    def lead(found):
        target = folder / found[1]
        if not target.is_dir():
            return found[0]
        if not (target / "README.md").exists():
            return "](" + os.path.relpath(next(target.glob("*.py")), folder) + ")"
        return f"]({found[1]}/README.md{found[2] or ''})"

    text = LINK.sub(lead, source[0])
    if name.endswith(("index", "README")):
        sections = re.split(r"^(?=## )", text, flags=re.MULTILINE)
        text = "".join(section + children(section) for section in sections)
    source[0] = text


def children(section):
    """Return a hidden table of contents of the pages that a section of an index lists."""
    links = [link for line in ITEM.finditer(section) for link in TITLED.findall(line[0])]
    pages = {page: title for title, page in reversed(links)}  # the first title of each
    heading = re.match(r"## (.*)", section)
    caption = f":caption: {heading[1]}\n" if heading else ""
    listed = "\n".join(f"{title} <{page}>" for page, title in reversed(pages.items()))
    return f"\n```{{toctree}}\n:hidden:\n{caption}\n{listed}\n```\n\n" if pages else ""


def escape(app, kind, name, object, options, lines):
    """Keep `*` and `|` of the formulas of a docstring, which are markup in reStructuredText."""
    for number, line in enumerate(lines):
        if not line.lstrip().startswith((">>>", "...")):
            pieces = re.split("(`[^`]*`)", line)
            pieces[::2] = [re.sub(r"([*|])", r"\\\1", piece) for piece in pieces[::2]]
            lines[number] = "".join(pieces)


def copy_llms(app, exception):
    """Write llms.txt with links to the pages of the site."""
    text = (ROOT / "docs/llms.txt").read_text()
    moved = LINKS.sub(lambda link: f"](docs/{link[1].removesuffix('.md')}.html)", text)
    (Path(app.outdir) / "llms.txt").write_text(moved.replace("docs/../", ""))


def setup(app):
    """Connect the changes of pages and of docstrings."""
    app.connect("source-read", to_pages)
    app.connect("autodoc-process-docstring", escape, priority=400)  # before napoleon
    app.connect("build-finished", copy_llms)
    data = import_module("innflow.data")  # its exports are imported on first use
    vars(data).update({name: getattr(data, name) for name in data.__all__})
