"""Shares of the time of one training step; writes docs/profile.md.

    python -m benchmarks.step_profile [threads=2] [steps=30] [out=docs]

Forward pass, loss, backward pass and fused Adam of four flows, without a trainer.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks.ours import build, networks
from benchmarks.table import Cell, Table, describe, write
from benchmarks.work import GLOW, WORKS, Work
from innflow.errors import InnflowError
from innflow.system.allocator import keep_freed_memory

DEFAULTS = {"threads": "2", "steps": "30", "out": "docs"}
UPDATE = "update"
FAMILIES = {
    "matrix products and convolutions": ("mm", "convolution", "linear", "onednn", "mkldnn"),
    "activation functions": ("silu", "relu", "threshold"),
    "softmax and sums": ("softmax", "sum", "cumsum", "mean", "norm"),
    "copies and indexing": (
        "copy",
        "cat",
        "index",
        "gather",
        "clone",
        "stack",
        "contiguous",
        "fill",
        "zero",
    ),
    "element-wise arithmetic": (
        *("mul", "add", "sub", "div", "exp", "log", "tanh", "where", "clamp", "sqrt", "pow"),
        *("square", "neg", "sigmoid", "softplus", "ge", "le", "lt", "gt", "eq", "bitwise", "rsub"),
    ),
}
ABOUT = """Shares of the time of a step, from torch's profiler, which overestimates the time of
small operations. "Python and autograd" is the time outside of operations and of the update of the
weights. The time of flows in two dimensions depends on the number of operations, not on their size;
compilation reduces it. Large flows spend their time in matrix products and convolutions; bfloat16
reduces it."""


def family(name: str) -> str:
    """Return the kind of an operation from its name."""
    short = name.removeprefix("aten::")
    for title, words in FAMILIES.items():
        if any(
            short == word or short.startswith((word, f"_{word}")) or f"_{word}" in short
            for word in words
        ):
            return title
    return "other operations"


def shares(work: Work, steps: int) -> dict[str, float]:
    """Return each kind's share of the time of a step, and the milliseconds of the step."""
    torch.manual_seed(0)
    flow = build(work, networks(work))
    x = torch.randn(work.batch, *work.shape)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        z, logabsdet = flow(x)
        (0.5 * z.square().flatten(1).sum(1) - logabsdet).mean().backward()
        with record_function(UPDATE):
            optimizer.step()

    for _ in range(5):
        step()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(steps):
            with record_function("step"):
                step()
    events = found.key_averages()
    total = sum(event.cpu_time_total for event in events if event.key == "step")
    inside: dict[str, float] = defaultdict(float)
    inside["update of the weights (Adam)"] = sum(
        event.cpu_time_total for event in events if event.key == UPDATE
    )
    updates = [event for event in found.events() if event.name == UPDATE]
    spans = [(event.time_range.start, event.time_range.end) for event in updates]
    for event in found.events():
        if event.name in ("step", UPDATE) or not event.name.startswith("aten::"):
            continue
        if any(start <= event.time_range.start < end for start, end in spans):
            continue
        inside[family(event.name)] += event.self_cpu_time_total
    result = {name: value / total for name, value in inside.items()}
    result["Python and autograd"] = 1 - sum(result.values())
    return result | {"milliseconds": total / steps / 1000}


def main(words: list[str]) -> None:
    """Profile the four flows and write the page."""
    given = dict(word.partition("=")[::2] for word in words)
    unknown = sorted(set(given) - set(DEFAULTS))
    if unknown:
        raise InnflowError(f"benchmarks: {unknown[0]} is unknown: takes {', '.join(DEFAULTS)}")
    settings = DEFAULTS | given
    threads = int(settings["threads"])
    torch.set_num_threads(threads)
    keep_freed_memory()
    works = {"affine, 2": WORKS[0], "affine, 3,072": WORKS[1], "spline, 16": WORKS[4], "Glow": GLOW}
    found = {name: shares(work, int(settings["steps"])) for name, work in works.items()}
    names = dict.fromkeys(name for column in found.values() for name in column)
    names.pop("milliseconds")
    table = Table("One training step", ABOUT, ["", *works])
    for name in names:
        cells: list[Cell] = [f"{100 * column.get(name, 0.0):.0f}%" for column in found.values()]
        table.rows.append([name, *cells])
    table.rows.append(["milliseconds", *(column["milliseconds"] for column in found.values())])
    table.notes += [f"{name}: {work}" for name, work in works.items()]
    out = Path(settings.pop("out"))
    write(
        out / "profile",
        "Time of a training step",
        "Written by `python -m benchmarks.step_profile`.",
        describe(threads, ()),
        settings,
        [table],
    )
    print(table.markdown())


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InnflowError as error:
        sys.exit(f"benchmarks: error: {error}")
