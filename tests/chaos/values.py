"""Strategies: values of every wrong type, hostile texts and paths, and bytes that were changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

HUGE = (2**31, 2**32, 2**53, 2**63 - 1, 2**63, 2**64, 10**30, -(2**31), -(2**63), -(10**30))
QUOTES = (
    *("'", '"', "''", "'a", 'a"b', "\\", "\\'", "a=b", "a,b", "a b", "{", "}", "[", "[1,2", "[]"),
    *(
        "{}",
        "{a:1}",
        "{a:{b:[1]}}",
        "[[1],[2]]",
        "$",
        "%s",
        "{0}",
        "#",
        "a:b",
        "@",
        "!",
        "(",
        "f(x)",
    ),
    *("null", "~", "???", "True", "on", "1e3", "0x10", "1_000", ".inf", "-.inf", ".nan", "nan"),
    *("choice(1,2)", "range(3)", "glob(*)", "int(3)", "str(3)", "sort(3,1)", "!!binary x"),
    "!!python/object/apply:os.mkdir [made]",
)
INTERPOLATIONS = (
    *("${", "${x}", "${seed}", "${data.n}", "${oc.env:HOME}", "${oc.env:NOT_THERE}", "${stamp:}"),
    *("${oc.create:{_target_:os.mkdir,path:exploded}}", "${hydra:runtime.cwd}", "${oc.select:x}"),
    *("${.}", "${..}", "${model}", "${oc.decode:'[1,2]'}", "${eval:1}", "a${seed}b", r"\${seed}"),
)
PATHS = (
    *("", ".", "..", "../..", "~", "~nobody", "none/x", "/dev/null", "/dev/full", "/dev/null/x"),
    *(
        "/proc/self/mem",
        "/proc/none/x",
        "s3://",
        "s3://bucket",
        "file:///none",
        "http://[",
        "a" * 300,
    ),
    *("a/" * 2500, "-", "--", "-rf", "--help=x", "exploded.py", "here\\there", "C:\\x", "con", " "),
    *("\udcff", "é", "\u202e", "🙈", "\x1b[2J", "a\nb", "a\rb", "a\tb", "\x7f"),
)

characters = st.characters(codec="utf-8", exclude_characters="\0")
texts = st.text(characters, max_size=12)
numbers = st.one_of(
    st.integers(-3, 3), st.sampled_from(HUGE), st.floats(), st.sampled_from((1e-320, 1e308, -0.0))
)
strings = st.one_of(*map(st.sampled_from, (QUOTES, INTERPOLATIONS, PATHS)), texts)
scalars = st.one_of(st.none(), st.booleans(), numbers, strings)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(texts, scalars), inner, max_size=3)
    ),
    max_leaves=5,
)
"""Whatever a YAML file can hold."""


@st.composite
def typed(draw: Any) -> str:
    """A value as it is typed after `key=`: bare, or between quotes."""
    value = draw(scalars)
    text = (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )
    return draw(st.sampled_from((text, text, text, quoted(text), f"[{text}]", f"{{a:{text}}}")))


def quoted(text: str) -> str:
    """Return a text as Hydra takes it literally."""
    slashes = len(text) - len(text.rstrip("\\"))
    return "'" + text.replace("'", r"\'") + "\\" * slashes + "'"


@st.composite
def misspelt(draw: Any, keys: Sequence[str]) -> str:
    """A key with a character that was left out, added or replaced."""
    key = draw(st.sampled_from(keys))
    at = draw(st.integers(0, len(key)))
    return (
        key[:at]
        + draw(st.one_of(st.just(""), texts, st.sampled_from("._@/+~-")))
        + key[at + draw(st.integers(0, 2)) :]
    )


@st.composite
def damaged(draw: Any, content: bytes) -> bytes:
    """Bytes of which a bit, some bytes or a block are changed, added, missing or moved."""
    if not content:
        return draw(st.binary(max_size=64))
    data = bytearray(content)
    at = draw(st.integers(0, len(data) - 1))
    kind = draw(st.sampled_from(("bit", "bit", "bytes", "cut", "gap", "insert", "zeros", "repeat")))
    if kind == "bit":
        data[at] ^= 1 << draw(st.integers(0, 7))
    elif kind == "bytes":
        new = draw(st.binary(min_size=1, max_size=8))
        data[at : at + len(new)] = new
    elif kind == "cut":
        del data[at:]
    elif kind == "gap":
        del data[at : at + draw(st.integers(1, 64))]
    elif kind == "insert":
        data[at:at] = draw(st.binary(min_size=1, max_size=64))
    elif kind == "zeros":
        size = min(draw(st.sampled_from((1, 4, 64, 4096))), len(data) - at)
        data[at : at + size] = bytes(size)
    else:
        data[at:at] = data[max(0, at - 64) : at]
    return bytes(data)


@st.composite
def mutated(draw: Any, node: Any, hostile: st.SearchStrategy[Any] = values) -> Any:
    """Plain dicts and lists of which one value, key or entry is replaced, added or missing."""
    if not isinstance(node, dict | list) or not node or draw(st.integers(0, 5)) == 0:
        return draw(hostile)
    if isinstance(node, list):
        at = draw(st.integers(0, len(node) - 1))
        changed = list(node)
        if draw(st.integers(0, 4)):
            changed[at] = draw(mutated(node[at], hostile))
        elif draw(st.booleans()):
            del changed[at]
        else:
            changed.insert(at, draw(hostile))
        return changed
    key = draw(st.sampled_from(list(node)))
    kind = draw(st.sampled_from(("in", "in", "in", "in", "gone", "renamed", "new")))
    changed = dict(node)
    if kind == "in":
        changed[key] = draw(mutated(node[key], hostile))
    elif kind == "new":
        changed[draw(texts)] = draw(hostile)
    else:
        value = changed.pop(key)
        if kind == "renamed":
            changed[draw(texts)] = value
    return changed
