"""Simulators of users that raise, exit, die, print, or return what is no data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import strategies as st

from chaos.conftest import QUIET
from chaos.explore import explore
from chaos.sandbox import require
from chaos.settings import share

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

MODULE = """
import os, signal, sys, threading, warnings
import numpy as np
import torch

calls = 0
{top}

class Prior:
    def sample(self, shape):
        x = torch.rand(*shape, 2)
        {prior}
        return x

def prior():
    {made}
    return Prior()

def forward(x):
    global calls
    calls += 1
    y = torch.stack([x[:, 0] + x[:, 1], x[:, 0] * x[:, 1], x[:, 0]], dim=1)
    if calls {when} {number}:
        {forward}
    return y
"""
FAULTS = (
    *(
        "raise ValueError('no')",
        "raise ValueError",
        "raise KeyError('a')",
        "raise Exception('a\\nb')",
    ),
    *(
        "raise KeyboardInterrupt",
        "raise SystemExit",
        "sys.exit(3)",
        "sys.exit(0)",
        "sys.exit('bye')",
    ),
    *("raise MemoryError", "raise RecursionError", "raise StopIteration", "raise GeneratorExit"),
    *("undefined", "import nowhere", "raise ImportError", "raise NotImplementedError", "1 / 0"),
    *(
        "raise UnicodeDecodeError('a', b'b', 0, 1, 'c')",
        "raise OSError(28, 'full')",
        "assert False",
    ),
    *("raise ValueError('\\x1b[2J\\udcff')", "raise ValueError('x' * 100000)", "raise EOFError"),
    *("print('hello')", "print('hello', file=sys.stderr)", "warnings.warn('careful')"),
    *("np.random.seed(0)", "torch.manual_seed(0)", "os.chdir('/')", "sys.stdout.close()"),
    *("os.environ.clear()", "sys.path.clear()", "threading.Thread(target=print).start()"),
    *("torch.set_num_threads(4)", "torch.set_default_dtype(torch.float64)"),
    "raise BaseException('odd')",
)
"""Statements that may stand anywhere; none closes stderr, without which no line can be printed."""
ENDS = (
    *("os._exit(0)", "os._exit(3)", "os.abort()", "os.kill(os.getpid(), signal.SIGKILL)"),
    "os.kill(os.getpid(), signal.SIGSEGV)",
)
"""Statements that end the process: an import and a prior have no other than that of the run."""
RESULTS = (
    *("None", "3", "'text'", "[]", "[[1, 2, 3]] * len(x)", "{}", "x", "x[:0]", "x[:1]", "x.T"),
    *(
        "y[:, None]",
        "y[:, :0]",
        "y[0]",
        "y.sum()",
        "y * float('nan')",
        "y / 0",
        "-y / 0",
        "y * 1e38 * 10",
    ),
    *(
        "y.double()",
        "y.int()",
        "y.bool()",
        "y.to(torch.complex64)",
        "y.numpy()",
        "y.numpy().astype(object)",
    ),
    *(
        "y.numpy().astype('U8')",
        "y.numpy().astype('M8[s]')",
        "y.tolist()",
        "(y, y)",
        "y.to_sparse()",
    ),
    *(
        "y.requires_grad_()",
        "y.half()",
        "y.to(torch.bfloat16)",
        "y.expand(3, *y.shape)",
        "y * 0",
        "y * 0 + 1",
    ),
    *(
        "torch.cat([y, y])",
        "torch.where(x[:, :1] > 0.9, torch.nan, y)",
        "torch.rand(len(x), calls)",
    ),
    *(
        "np.ma.masked_array(y.numpy(), True)",
        "np.matrix(y.numpy())",
        "(row for row in y)",
        "y.to('meta')",
    ),
    *("torch.rand(len(x), 20000)", "y.numpy().astype('>f8')", "y[:, 0]", "y * 1e-40", "y.flip(0)"),
)
"""What is returned in place of the data, or of the parameters."""

statements = st.one_of(*map(st.sampled_from, (FAULTS, RESULTS)))


@st.composite
def modules(draw: object) -> str:
    """A module with one fault: at its import, in its prior, or in calls of its forward model."""
    parts = {"top": "", "prior": "pass", "made": "pass", "forward": "pass"}
    place = draw(st.sampled_from(("top", "prior", "made", *["forward"] * 4)))
    faults = {
        "top": st.sampled_from(FAULTS),
        "forward": st.one_of(statements, st.sampled_from(ENDS)),
    }
    fault = draw(faults.get(place, statements))
    if fault in RESULTS and place != "top":
        fault = f"return {fault.replace('y', 'x') if place == 'prior' else fault}"
        if place == "made":
            fault = "return None"
    parts[place] = fault
    when, number = draw(st.sampled_from((">=", ">=", "=="))), draw(st.sampled_from((1, 1, 2, 3, 5)))
    return MODULE.format(**parts, when=when, number=number)


ARGUMENTS = (
    *("+experiment=simulator", "data.prior=mine.prior", "data.forward=mine.forward", "+debug=fdr"),
    *("data.n=200", "data.n_test=20", "data.batch_size=32", "model.depth=1", "analysis=none"),
    *("trainer.max_time=null", "data.cache_dir=null", "run_dir=run", *QUIET),
)


class Module(str):
    """Code of a module that is shown by the functions in which it differs."""

    def __repr__(self) -> str:
        parts = dict.fromkeys(("top", "prior", "made", "forward"), "")
        plain = MODULE.format(**parts, when="", number="").splitlines()
        shown, where = [], "import"
        for line in self.splitlines():
            where = line.split("(")[0].strip() if "def " in line else where
            if line not in plain and line.strip() not in ("pass", ""):
                shown.append(f"{where}: {line.strip()}")
        return " | ".join(shown)


def finished(here: Path) -> None:
    """Check that the metrics of a run that worked are finite."""
    metrics = json.loads((here / "run/metrics.json").read_text())
    bad = [name for name, value in metrics.items() if value != value]
    require(not bad, f"worked, and {bad} are not finite")


def test_simulators(case):
    cases = st.tuples(modules().map(Module), st.sampled_from((1, 1, 2)))

    def check(given: tuple[str, int]) -> str:
        code, processes = given
        with case() as box:
            (box.here / "mine.py").write_text(code, encoding="utf-8", errors="surrogateescape")
            arguments = (*ARGUMENTS, f"data.processes={processes}")
            kept = ["run", "__pycache__"]
            return box.call(
                "innflow-train", *arguments, may_write=kept, right=lambda _: finished(box.here)
            )

    explore("simulators", cases, share(3), check)
