"""Export of every model of conf/model at a small size: error and latency of the ONNX files.

python -m benchmarks.export > table.md
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from innflow.app import Application
from innflow.app.program import Program, make_programs
from innflow.config.build import compose_config, to_plain
from innflow.config.resolvers import register_resolvers
from innflow.run.export import SUFFIXES, open_program, write_program
from innflow.run.load import assemble

CALLS = 300
"""Calls of which the median time is taken."""
CONDITIONAL = ("app=inverse", "partition=given_y", "latent=observed", "score=none", "model.depth=4")
SETTINGS: dict[str, tuple[dict[str, Sequence[int]], Sequence[str]]] = {
    "vector": ({"x": (8,)}, ()),
    "spline": ({"x": (8,)}, ()),
    "posterior": ({"x": (4,), "y": (6,)}, CONDITIONAL),
    "surrogate": (
        {"x": (4,), "y": (2,)},
        ("app=inverse", "partition=x_yz", "latent=observed", "score=none", "model.observed=2"),
    ),
    "glow": ({"x": (3, 16, 16)}, ("app=generation", "model.depth=2", "model.hidden=16")),
    "realnvp": ({"x": (3, 16, 16)}, ("app=generation", "model.depth=2", "model.hidden=16")),
    "realnvp_flat": ({"x": (1, 8, 8)}, ("app=generation", "model.depth=4", "model.hidden=[64]")),
    "masked": ({"x": (1, 16, 16)}, ("app=generation", "model.depth=4", "model.hidden=16")),
    "glow_dense": ({"x": (1, 8, 8)}, ("app=generation", "model.depth=2", "model.hidden=[64]")),
    "glow_patches": ({"x": (3, 16, 16)}, ("app=generation", "model.depth=2", "model.hidden=16")),
    "maps": ({"x": (8, 4, 4)}, ("app=density", "model.depth=2", "model.hidden=16")),
    "jet": ({"x": (3, 16, 16)}, ("app=generation", "model.depth=5", "model.hidden=32")),
    "jet_base": ({"x": (3, 16, 16)}, ("app=generation", "model.depth=5", "model.hidden=32")),
    "jet_large": ({"x": (3, 16, 16)}, ("app=generation", "model.depth=5", "model.hidden=32")),
}
"""Shapes of the data and overrides by option of the group model."""


def small_application(model: str) -> Application:
    """Return an application with a model of conf/model whose weights are no longer at the start."""
    register_resolvers()
    shapes, overrides = SETTINGS[model]
    defaults = ["data=moons", f"model={model}", *overrides]
    config = to_plain(compose_config("train", defaults))
    torch.manual_seed(0)
    app = assemble(config, shapes)
    with torch.no_grad():
        for weight in app.parameters():
            weight.add_(0.02 * torch.randn_like(weight))
    if "y" in app.latent and getattr(app.latent["y"], "sigma", 0.0) is None:
        app.latent["y"].set_extra_state({"sigma": 0.1, "matched": False, "fitted": []})
    return app.eval()


def latency(program: Program, path: Path) -> float:
    """Return the median time in ms of a call with one row."""
    row = {name: values[:1] for name, values in program.inputs.items()}
    run = open_program(path, list(program.module(*program.inputs.values())))
    seconds = []
    for _ in range(CALLS):
        start = time.perf_counter()
        run(row)
        seconds.append(time.perf_counter() - start)
    return 1e3 * float(np.median(seconds))


def rows(models: Sequence[str]) -> Iterator[str]:
    """Yield a line of the table for each program of each model."""
    yield "| model | data | program | file | error | one row |\n|---|---|---|---|---|---|\n"
    with TemporaryDirectory() as folder:
        for model in models:
            shapes = SETTINGS[model][0]
            data = ", ".join(f"{k} {'x'.join(map(str, shape))}" for k, shape in shapes.items())
            for name, program in make_programs(small_application(model)).items():
                path = Path(folder, f"{model}_{name}{SUFFIXES['onnx']}")
                error = write_program(program, path, "onnx")
                size = path.stat().st_size / 1e6
                shown = f"{size:.2f} MB | {error:.0e} | {latency(program, path):.2f} ms"
                yield f"| `{model}` | {data} | {name} | {shown} |\n"


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in rows(sys.argv[1:] or list(SETTINGS)):
        print(line, end="", flush=True)
