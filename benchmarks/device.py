"""Parts of benchmarks/device.sh: what differs on another device than the CPU, and the page.

    python -m benchmarks.device see|laws|compiles|page FOLDER
    python -m benchmarks.device trained RUN

`see` checks that torch has the device and prints versions. `laws` checks the flows of the tests
there: round trips, log-determinants, fast implementations, reversible training, bf16 networks;
`compiles` checks compiled flows. `trained` checks the loss of a finished run. `page` writes
device.md and device.json from what the parts have left in FOLDER. The environment variable DEVICE
is cuda or cpu.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.peers import PACKAGES
from benchmarks.variants import time_limit

DEVICE = os.environ.get("DEVICE", "cuda")
QUICK = os.environ.get("QUICK", "0") == "1"
ROOT = Path(__file__).resolve().parent.parent
SECONDS = 60.0
"""Time limit of one check."""
COMPILED = ("vector_spline",) if QUICK else ("vector_affine", "vector_spline", "glow", "realnvp")


def see() -> dict[str, str]:
    """Return what torch sees, and the versions of the packages."""
    found = {"python": sys.version.split()[0], "torch": torch.__version__, "device": DEVICE}
    if DEVICE.startswith("cuda"):
        if not torch.cuda.is_available():
            raise RuntimeError("torch sees no CUDA device")
        free, total = torch.cuda.mem_get_info()
        found |= {
            "card": torch.cuda.get_device_name(),
            "capability": ".".join(map(str, torch.cuda.get_device_capability())),
            "memory": f"{free / 2**30:.0f} of {total / 2**30:.0f} GiB free",
            "CUDA": str(torch.version.cuda),
            "cuDNN": str(torch.backends.cudnn.version()),
            "TF32 of convolutions": str(torch.backends.cudnn.allow_tf32),
            "TF32 of products": str(torch.backends.cuda.matmul.allow_tf32),
            "bf16": str(torch.cuda.is_bf16_supported()),
        }
    for name in ("innflow", "pytorch-lightning", *dict.fromkeys(PACKAGES.values())):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def _placed(case: Any, dtype: torch.dtype, batch: int = 8) -> tuple[Any, Tensor, Tensor | None]:
    """Return a flow of the tests and its inputs on the device, drawn on the CPU with seed 0."""
    from flow.zoo import built, draw

    torch.manual_seed(0)
    flow, (x, context) = built(case, dtype).to(DEVICE), draw(case, dtype, batch)
    return flow, x.to(DEVICE), None if context is None else context.to(DEVICE)


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one.detach().double() - other.detach().double()).abs().max())


def round_trip(case: Any, dtype: torch.dtype) -> float:
    """Return the largest error of x -> z -> x and of the log-determinants."""
    flow, x, context = _placed(case, dtype)
    with torch.no_grad():
        z, logabsdet = flow(x, context)
        back, inverse_logabsdet = flow.inverse(z, context)
    scale = max(1, x[0].numel() ** 0.5)
    return max(_difference(back, x), _difference(logabsdet, -inverse_logabsdet) / scale)


def log_det(case: Any) -> float:
    """Return the error of the log-determinant, compared with the autograd Jacobian."""
    flow, x, context = _placed(case, torch.float64, 1)
    jacobian = torch.autograd.functional.jacobian(lambda x: flow(x, context)[0].flatten(1), x)
    expected = torch.linalg.slogdet(jacobian.reshape(x.numel(), x.numel())).logabsdet
    return _difference(flow(x, context)[1][0], expected)


def same_as_cpu(case: Any) -> float:
    """Return the largest difference to the latents and log-determinants on the CPU."""
    flow, x, context = _placed(case, torch.float64)
    found = flow(x, context)
    flow, x, context = flow.cpu(), x.cpu(), None if context is None else context.cpu()
    return max(_difference(a.cpu(), b) for a, b in zip(found, flow(x, context), strict=True))


def _gradients(
    flow: Any, x: Tensor, context: Tensor | None, run: Callable[..., Any]
) -> list[Tensor]:
    """Return latents, log-determinants and all gradients of one training step."""
    x = x.clone().requires_grad_()
    z, logabsdet = run(x, context)
    loss = (z.square().sum(1) * logabsdet.cos()).sum()
    wanted = [x, *(weight for weight in flow.parameters() if weight.requires_grad)]
    return [z, logabsdet, *torch.autograd.grad(loss, wanted, materialize_grads=True)]


def against_plain(case: Any, reversible: bool = False) -> float:
    """Return the largest difference, relative to 1 or larger values, to the plain layers."""
    flow, x, context = _placed(case, torch.float64)

    def plain(x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        parts, total, kept = [], torch.zeros((), device=x.device), x
        for index, level in enumerate(flow.levels):
            kept, logabsdet = level(kept, context)
            total = total + logabsdet
            if index < len(flow.levels) - 1:
                kept, finished = kept.chunk(2, dim=1)
                parts.append(finished.flatten(1))
        return torch.cat((*parts, kept.flatten(1)), dim=1), total

    expected = _gradients(flow, x, context, plain)
    flow.reversible = reversible
    found = _gradients(flow, x, context, flow)
    pairs = zip(found, expected, strict=True)
    return max(_difference(a, b) / max(1.0, float(b.detach().abs().max())) for a, b in pairs)


def bf16(case: Any) -> float:
    """Return the error of x -> z -> x with bf16 networks; latents must stay in fp32."""
    flow, x, context = _placed(case, torch.float32)
    with torch.no_grad(), torch.autocast(DEVICE.partition(":")[0], torch.bfloat16):
        z, logabsdet = flow(x, context)
        back, _ = flow.inverse(z, context)
    if z.dtype != torch.float32 or logabsdet.dtype != torch.float32:
        raise AssertionError(f"latents are {z.dtype}, log-determinants {logabsdet.dtype}")
    return _difference(back, x)


def compiled(case: Any) -> float:
    """Return the largest difference of a compiled step, relative to 1 or larger values."""
    flow, x, context = _placed(case, torch.float32)
    expected = _gradients(flow, x, context, flow)
    flow.compile()
    pairs = zip(_gradients(flow, x, context, flow), expected, strict=True)
    return max(_difference(a, b) / max(1.0, float(b.detach().abs().max())) for a, b in pairs)


Checks = dict[str, tuple[Callable[[Any], float], dict[str, Any], float]]
"""Title -> check of a flow, flows by name, largest error that passes."""


def laws(folder: Path) -> None:
    """Check the flows of the tests."""
    sys.path.insert(0, str(ROOT / "tests"))
    from flow.zoo import ALL, FLOWS

    if QUICK:
        names = ("vector_affine", "vector_spline", "glow")
        FLOWS = {name: FLOWS[name] for name in names}
        ALL = FLOWS
    fp32, fp64 = torch.float32, torch.float64
    checks: Checks = {
        "round trip, fp64": (partial(round_trip, dtype=fp64), ALL, 1e-8),
        "round trip, fp32": (partial(round_trip, dtype=fp32), ALL, 1e-3),
        "log-determinant against autograd, fp64": (log_det, ALL, 1e-8),
        "device against CPU, fp64": (same_as_cpu, ALL, 1e-8),
        "fast against plain, values and gradients, fp64": (against_plain, FLOWS, 1e-7),
        "reversible against plain, fp64": (partial(against_plain, reversible=True), FLOWS, 1e-7),
        "round trip with bf16 networks": (bf16, FLOWS, 0.1),
    }
    run_checks(checks, folder / "laws.jsonl", SECONDS)


def compiles(folder: Path) -> None:
    """Check compiled flows."""
    sys.path.insert(0, str(ROOT / "tests"))
    from flow.zoo import FLOWS

    cases = {name: FLOWS[name] for name in COMPILED}
    checks: Checks = {"compiled against eager, fp32": (compiled, cases, 1e-2)}
    run_checks(checks, folder / "compiles.jsonl", 3 * SECONDS)


def run_checks(checks: Checks, path: Path, limit: float) -> None:
    """Run checks, each within a limit in seconds, and leave a line of JSON for each.

    Raises:
        RuntimeError: if one fails.
    """
    bad = 0
    with path.open("w") as file:
        for title, (check, cases, bound) in checks.items():
            start, errors, failed = time.monotonic(), {}, []
            try:
                with time_limit(limit):
                    for name, case in cases.items():
                        try:
                            errors[name] = check(case)
                            if not errors[name] < bound:
                                failed.append(f"{name}: {errors[name]:.1e}")
                        except TimeoutError:
                            raise
                        except Exception as error:
                            line = (str(error).strip() or type(error).__name__).splitlines()[0]
                            failed.append(f"{name}: {line[:100]}")
            except TimeoutError:
                failed.append(f"time limit after {len(errors)} of {len(cases)} flows")
            row = {"check": title, "flows": len(cases), "bound": bound, "failed": failed}
            row["worst"] = max(errors.values(), default=None)
            row["seconds"] = round(time.monotonic() - start, 1)
            file.write(json.dumps(row) + "\n")
            file.flush()
            bad += bool(failed)
            print(f"{title}: {'; '.join(failed) or 'passed'}", flush=True)
    if bad:
        raise RuntimeError(f"{bad} of {len(checks)} checks failed")


def trained(run: Path) -> None:
    """Check that the training loss of a run is finite and has fallen.

    Raises:
        RuntimeError: if not.
    """
    with (run / "metrics.csv").open() as file:
        cells = [row.get("train/loss") for row in csv.DictReader(file)]
    losses = [float(cell) for cell in cells if cell]
    if len(losses) < 2 or not all(map(math.isfinite, losses)) or losses[-1] >= losses[0]:
        raise RuntimeError(f"train/loss: {losses[:3]} ... {losses[-3:]}")
    print(f"train/loss {losses[0]:.3f} to {losses[-1]:.3f} in {len(losses)} logged steps")


def page(folder: Path) -> None:
    """Write device.md and device.json from the logs and results of the parts."""
    parts = [json.loads(line) for line in (folder / "parts.jsonl").read_text().splitlines()]
    for part in parts:
        log = folder / f"{part['part']}.log"
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        part["last_line"] = lines[-1][:300] if lines else ""
    rows = []
    for name in ("laws", "compiles"):
        file = folder / f"{name}.jsonl"
        rows += (
            [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
        )
    text = [
        "# innflow on another device",
        "",
        "| part | seconds | exit code | last line |",
        "|---|---|---|---|",
    ]
    for part in parts:
        last = part["last_line"].replace("|", "\\|")
        text.append(f"| {part['part']} | {part['seconds']} | {part['code']} | {last} |")
    text += [
        "",
        "| check | flows | largest error | bound | seconds | failed |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        worst = "" if row["worst"] is None else f"{row['worst']:.1e}"
        failed = "; ".join(row["failed"]).replace("|", "\\|") or "none"
        text.append(
            f"| {row['check']} | {row['flows']} | {worst} | {row['bound']:.0e} | {row['seconds']} "
            f"| {failed} |"
        )
    speed = {}
    for name in ("speed", "speed_compiled"):
        file = folder / name / "results"
        if file.with_suffix(".md").exists():
            text += [
                "",
                re.sub("^#", "##", file.with_suffix(".md").read_text(), flags=re.MULTILINE),
            ]
            speed[name] = json.loads(file.with_suffix(".json").read_text())
    (folder / "device.md").write_text("\n".join(text) + "\n")
    whole = {"parts": parts, "checks": rows, "speed": speed}
    (folder / "device.json").write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    part, place = sys.argv[1], Path(sys.argv[2])
    if part == "see":
        print("; ".join(f"{name} {value}" for name, value in see().items()))
    else:
        {"laws": laws, "compiles": compiles, "trained": trained, "page": page}[part](place)
