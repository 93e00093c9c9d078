"""Time of answers of innflow-serve on loopback, beside the time of the model alone.

python -m benchmarks.serve [pretrained:NAME or DIR ...]
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch

import innflow
from innflow.app import Unconditional
from innflow.pretrained import names
from innflow.serve import served

CALLS, FIRST = 200, 10
"""Calls that are measured, and calls before them that are not."""
CLIENTS = 8
# A process of its own: in this one a client would hold the interpreter's lock.
CLIENT = """
import sys, time
from http.client import HTTPConnection
connection, body = HTTPConnection("127.0.0.1", int(sys.argv[1])), sys.argv[3]
for _ in range(int(sys.argv[2])):
    start = time.perf_counter()
    connection.request("POST", "/log_prob", body)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    answer.read()
    print(1e3 * (time.perf_counter() - start))
"""


def ask(port: int, body: str, clients: int) -> np.ndarray:
    """Return the times in ms of the requests of several clients, each over one connection."""
    line = [sys.executable, "-c", CLIENT, str(port), str(CALLS // clients + FIRST), body]
    running = [subprocess.Popen(line, stdout=subprocess.PIPE, text=True) for _ in range(clients)]
    times = [process.communicate()[0].split()[FIRST:] for process in running]
    return np.concatenate(times).astype(float)


def model_alone(app: Unconditional) -> np.ndarray:
    """Return the times in ms of calls with one row."""
    x, times = app.sample(1, seed=0), []
    for _ in range(CALLS + FIRST):
        start = time.perf_counter()
        app.log_prob(x)
        times.append(1e3 * (time.perf_counter() - start))
    return np.array(times[FIRST:])


def rows(runs: Sequence[str]) -> Iterator[str]:
    """Yield a line of the table for each run."""
    yield "| run | model, p50 and p99 | server, p50 and p99 | 8 clients, p50 and p99 |\n"
    yield "|---|---|---|---|\n"
    for run in runs:
        app = innflow.load(run)
        assert isinstance(app, Unconditional)
        body = json.dumps({"x": app.sample(1, seed=0).tolist()})
        with served(app) as port:
            measured = [model_alone(app), ask(port, body, 1), ask(port, body, CLIENTS)]
        cells = [
            " and ".join(f"{np.quantile(times, q):.1f} ms" for q in (0.5, 0.99))
            for times in measured
        ]
        yield f"| `{run}` | {' | '.join(cells)} |\n"


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in rows(sys.argv[1:] or [f"pretrained:{name}" for name in names()]):
        print(line, end="", flush=True)
