"""Time of answers of innflow-serve on loopback, beside the time of the model alone.

python -m benchmarks.serve [pretrained:NAME or DIR ...]
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from multiprocessing import get_context

import numpy as np
import torch
import uvicorn

import innflow
from innflow.app import Unconditional
from innflow.command.serve import _listen
from innflow.pretrained import names
from innflow.serve import Limits, make_server

CALLS = 300
CLIENTS = 8


@contextmanager
def served(app: Unconditional) -> Iterator[int]:
    """Serve an application in a thread and yield its port."""
    config = uvicorn.Config(make_server(app, Limits()), log_level="critical", access_log=False)
    server = uvicorn.Server(config)
    with _listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


def milliseconds(call: Callable[[], object], calls: int) -> np.ndarray:
    """Return the times of calls in ms, after some that are not counted."""
    times = []
    for number in range(calls + 20):
        start = time.perf_counter()
        call()
        if number >= 20:
            times.append(1e3 * (time.perf_counter() - start))
    return np.array(times)


def ask(port: int, body: bytes, calls: int) -> np.ndarray:
    """Return the times of requests over one connection."""
    connection = HTTPConnection("127.0.0.1", port)

    def call() -> None:
        connection.request("POST", "/log_prob", body)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()

    return milliseconds(call, calls)


def rows(runs: Sequence[str]) -> Iterator[str]:
    """Yield a line of the table for each run."""
    yield "| run | model, p50 | model, p99 | server, p50 | server, p99 | 8 clients, answers/s |\n"
    yield "|---|---|---|---|---|---|\n"
    for run in runs:
        app = innflow.load(run)
        assert isinstance(app, Unconditional)
        x = app.sample(1, seed=0)
        alone = milliseconds(lambda app=app, x=x: app.log_prob(x), CALLS)
        body = json.dumps({"x": x.tolist()}).encode()
        # Clients are processes of their own: in this one they would hold the interpreter's lock.
        with served(app) as port, ProcessPoolExecutor(CLIENTS, get_context("spawn")) as pool:
            list(pool.map(ask, [port] * CLIENTS, [body] * CLIENTS, [1] * CLIENTS))  # starts them
            one = pool.submit(ask, port, body, CALLS).result()
            start = time.perf_counter()
            list(pool.map(ask, [port] * CLIENTS, [body] * CLIENTS, [CALLS // 4] * CLIENTS))
            rate = CLIENTS * (CALLS // 4 + 20) / (time.perf_counter() - start)
        model = " | ".join(f"{np.quantile(alone, q):.2f} ms" for q in (0.5, 0.99))
        server = " | ".join(f"{np.quantile(one, q):.2f} ms" for q in (0.5, 0.99))
        yield f"| `{run}` | {model} | {server} | {rate:.0f} |\n"


if __name__ == "__main__":
    torch.set_num_threads(1)
    for line in rows(sys.argv[1:] or map("pretrained:{}".format, names())):
        print(line, end="", flush=True)
