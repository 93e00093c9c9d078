"""Private names of other libraries in src: docs/lightning.md lists every one of them."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import innflow

SOURCE = Path(innflow.__file__).parent
PAGE = SOURCE.parents[1] / "docs" / "lightning.md"
PUBLIC = {"_asdict", "_replace", "_fields", "_exit"}  # documented: of named tuples, and os._exit


def is_private(name: str) -> bool:
    return re.fullmatch(r"_[a-zA-Z]\w*", name) is not None and name not in PUBLIC


def accessed(tree: ast.AST) -> Iterator[str]:
    """Yield private names that are read from anything but `self`, `cls` and `super()`."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super"))):
                pass
            case ast.Attribute(attr=name):
                yield name
            case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str(name)), *_]):
                yield name
            case ast.ImportFrom(module=str(module), names=names):
                if not module.startswith("innflow"):
                    yield from module.split(".")
                    yield from (alias.name for alias in names)
            case ast.Import(names=names):
                yield from (part for alias in names for part in alias.name.split("."))


def own(tree: ast.AST) -> Iterator[str]:
    """Yield names that a class gives itself: methods, attributes and class variables."""
    for node in ast.walk(tree):
        match node:
            case (
                ast.FunctionDef(name=name)
                | ast.ClassDef(name=name)
                | ast.Name(id=name, ctx=ast.Store())
            ):
                yield name
            case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name):
                yield name
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr=name):
                yield name


@cache
def words_of(base: type) -> set[str]:
    """Return the private names in the source of a class of another library."""
    try:
        source = inspect.getsource(base)
    except (OSError, TypeError):
        return set()
    return set(re.findall(r"(?:self\.|def |^    )(_[a-zA-Z]\w*)", source, re.MULTILINE))


def inherited(module: object) -> Iterator[str]:
    """Yield private names of foreign base classes that the classes of a module use or redefine."""
    for cls in vars(module).values():
        if not inspect.isclass(cls) or cls.__module__ != module.__name__:
            continue
        named = {name for name in own(ast.parse(textwrap.dedent(inspect.getsource(cls))))}
        for base in cls.__mro__[1:]:
            if base.__module__.partition(".")[0] not in ("innflow", "builtins", "typing"):
                yield from named & words_of(base)


@cache
def found() -> set[str]:
    trees = [ast.parse(path.read_text()) for path in SOURCE.rglob("*.py")]
    names = {name for tree in trees for name in accessed(tree)}
    names -= {name for tree in trees for name in own(tree)}
    for info in pkgutil.walk_packages(innflow.__path__, "innflow."):
        names |= set(inherited(importlib.import_module(info.name)))
    return {name for name in names if is_private(name)}


def listed() -> set[str]:
    """Return the names in the first column of the page's tables."""
    rows = re.findall(r"^\| (`[^|]+`) \|", PAGE.read_text(), re.MULTILINE)
    return {
        part
        for row in rows
        for name in re.findall(r"`([^`]+)`", row)
        for part in name.split(".")
        if is_private(part)
    }


def test_every_private_name_in_src_is_on_the_page():
    assert found() - listed() == set()


def test_the_page_lists_no_name_that_src_does_not_use():
    assert listed() - found() == set()


def test_a_planted_private_name_is_found():
    source = "import torch._dynamo\nfrom a._b import c\ngetattr(x, '_d', None)\nx._e.f\nself._g"
    assert set(filter(is_private, accessed(ast.parse(source)))) == {"_dynamo", "_b", "_d", "_e"}
