"""The server: answers of the run, many clients at once, and requests that are refused."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import innflow
from innflow import Partition, flow
from innflow.app import Inverse
from innflow.flow import Observed
from innflow.serve import Limits, served


def ask(
    port: int, path: str, body: Any = None, kind: str = "application/json", **headers: str
) -> SimpleNamespace:
    """Send one request, a GET where there is no body."""
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        method = "GET" if body is None else "POST"
        connection.request(method, path, content, {"Content-Type": kind, **headers})
        answer = connection.getresponse()
        found = json.loads(answer.read())
        return SimpleNamespace(status=answer.status, json=found, headers=answer.headers)
    finally:
        connection.close()


@pytest.fixture(scope="module")
def vectors(vector_run: Path) -> Iterator[SimpleNamespace]:
    app = innflow.load(vector_run)
    with served(app, Limits(rows=100, megabytes=1)) as port:
        yield SimpleNamespace(app=app, port=port)


def test_the_card_and_the_health(vectors):
    card = ask(vectors.port, "/").json
    assert list(card["endpoints"]) == ["POST /log_prob", "POST /score", "POST /sample"]
    assert card["limits"]["rows"] == 100
    assert ask(vectors.port, "/health").json == {"status": "ok", "waiting": 0}


def test_many_clients_get_the_answers_of_the_run(vectors):
    x = vectors.app.sample(120, seed=3)
    rows = x.split([1, 2, 5, 3, 9, 20, 40, 40])
    expected = [vectors.app.score(one) for one in rows]

    def score(number: int) -> Any:
        return ask(vectors.port, "/score", {"x": rows[number % 8].tolist()})

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(score, range(64)))
    for number, answer in enumerate(answers):
        assert answer.status == 200, answer.json
        for name, values in expected[number % 8].items():
            np.testing.assert_allclose(answer.json[name], values, rtol=1e-5, err_msg=name)


def test_samples_are_those_of_the_run(vectors):
    answer = ask(vectors.port, "/sample", {"n": 3, "temperature": 0.5, "seed": 7})
    assert np.array_equal(
        np.array(answer.json["x"], np.float32), vectors.app.sample(3, 0.5, 7).numpy()
    )


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/score", b"{", 400, "not valid JSON"),
        ("/score", b"\xff\xfe", 400, "not valid JSON"),
        ("/score", [1, 2], 400, "must be a JSON object"),
        ("/score", {"X": [[0, 1]]}, 422, "X is unknown"),
        ("/score", {}, 422, "x is missing"),
        ("/score", {"x": [[0, 1, 2]]}, 422, "expected (batch, 2)"),
        ("/score", {"x": [[0, 1], [0]]}, 422, "x is not an array of numbers"),
        ("/score", {"x": [["a", "b"]]}, 422, "x must be an array of numbers"),
        ("/score", {"x": [[0, float("nan")]]}, 422, "not a finite number"),
        ("/score", {"x": [[0, 1]] * 101}, 422, "at most 100"),
        ("/score", b"0" * (1 << 21), 413, "larger than 1 MiB"),
        ("/sample", {"n": 0}, 422, "n=0: must be an integer from 1"),
        ("/sample", {"n": 10**9}, 422, "n=1000000000"),
        ("/sample", {"temperature": -1}, 422, "temperature=-1"),
        ("/sample", {"temperature": "hot"}, 422, "temperature=hot"),
        ("/posterior", {"y": [0, 1]}, 404, "Not Found"),
        ("/score", None, 405, "Not Allowed"),
    ],
)
def test_a_request_that_is_refused_gets_one_line(vectors, path, body, status, says):
    answer = ask(vectors.port, path, body)
    assert answer.status == status, answer.json
    assert list(answer.json) == ["error"]
    assert says in answer.json["error"]
    assert "\n" not in answer.json["error"]
    assert ask(vectors.port, "/score", {"x": [[0, 1]]}).status == 200


def test_vectors_are_not_taken_as_pictures_nor_under_another_name(vectors):
    answer = ask(vectors.port, "/score", b"GIF89a", "image/gif")
    assert (answer.status, "takes vectors" in answer.json["error"]) == (422, True)
    assert ask(vectors.port, "/score", b"x", "application/pdf").status == 415
    connection = HTTPConnection("127.0.0.1", vectors.port, timeout=60)
    connection.request("GET", "/health", headers={"Host": "elsewhere.example"})
    assert connection.getresponse().status == 400
    connection.close()


def test_pictures_as_bodies_and_forms(image_run, photographs):
    app = innflow.load(image_run)
    files = [photographs / "val/dog" / f"{i}.png" for i in range(3)]
    expected = app.score([Image.open(file) for file in files])
    with served(app) as port:
        one = ask(port, "/score", files[1].read_bytes(), "image/png")
        np.testing.assert_allclose(one.json["score"], expected["score"][1:2], rtol=1e-5)
        parts = b"".join(
            b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
            + file.read_bytes()
            + b"\r\n"
            for file in files
        )
        form = ask(port, "/score", parts + b"--edge--\r\n", "multipart/form-data; boundary=edge")
        np.testing.assert_allclose(form.json["p_value"], expected["p_value"])
        for exact in (True, False):
            drawn = ask(port, "/sample", {"n": 2, "seed": 1, "exact": exact})
            assert drawn.json["x"] == app.sample(2, seed=1, exact=exact).tolist()
        broken = ask(port, "/score", b"GIF89a", "image/gif")
        assert broken.status == 422
        spoilt = ask(port, "/score", b"--edge\r\nno header", "multipart/form-data; boundary=edge")
        assert spoilt.status in (400, 422)
        bomb = io.BytesIO()
        Image.new("1", (12_000, 12_000)).save(bomb, "PNG")
        answer = ask(port, "/score", bomb.getvalue(), "image/png")
        assert (answer.status, "million pixels" in answer.json["error"]) == (422, True)


def test_posteriors():
    torch.manual_seed(0)
    partition = Partition({"x": (2,)}, {"z": (2,)}, context={"y": (3,)})
    app = Inverse(flow.vector(2, depth=2, hidden=(8,), context=3), partition).eval()
    app.misspecification.fit(torch.randn(50, 3))
    y = [[0.0, 1.0, 2.0], [1.0, 0.5, 0.0]]
    with served(app, Limits(draws=20)) as port:
        found = ask(port, "/posterior", {"y": y, "n": 10, "seed": 4})
        drawn = app.posterior(y[1], 10, seed=5)
        assert np.array_equal(np.array(found.json["x"][1], np.float32), drawn.numpy())
        density = ask(port, "/log_prob", {"x": drawn[:2].tolist(), "y": y})
        np.testing.assert_allclose(density.json["log_prob"], app.log_prob(drawn[:2], y), rtol=1e-5)
        answer = ask(port, "/posterior", {"y": y, "n": 11})
        assert (answer.status, "22 rows, at most 20" in answer.json["error"]) == (422, True)


def test_null_in_y_is_missing_where_the_run_accepts_that():
    torch.manual_seed(0)
    partition = Partition({"x": (2,)}, {"z": (2,)}, context={"y": (3,)})
    embedding = Observed((3,), missing=True)
    coupling = flow.vector(2, depth=2, hidden=(8,), context=embedding.features)
    app = Inverse(coupling, partition, embedding=embedding).eval()
    app.misspecification.fit(torch.randn(50, 3), app.summarize)
    with served(app) as port:
        assert "null" in ask(port, "/").json["endpoints"]["POST /posterior"]["y"]
        found = ask(port, "/posterior", {"y": [0.5, None, 1], "n": 10, "seed": 4})
        drawn = app.posterior([0.5, float("nan"), 1.0], 10, seed=4)
        assert np.array_equal(np.array(found.json["x"][0], np.float32), drawn.numpy())
        for wrong in ([0.5, None, "1"], [0.5, None, True], [0.5, None]):
            assert ask(port, "/posterior", {"y": wrong}).status == 422
        assert ask(port, "/log_prob", {"x": [[0.0, None]], "y": [[0, 1, 2]]}).status == 422


class Slow:
    """A run whose calls wait for an event, and are counted."""

    def __init__(self, app: Any) -> None:
        self.app, self.free, self.begun = app, threading.Event(), threading.Event()
        self.sizes: list[int] = []
        right = app.score

        def score(x: Any) -> Any:
            self.sizes.append(len(x))
            self.begun.set()
            assert self.free.wait(60)
            return right(x)

        app.score = score


def test_waiting_requests_are_joined_limited_and_given_up(vector_run):
    slow = Slow(innflow.load(vector_run))
    with served(slow.app, Limits(queue=3, seconds=20)) as port, ThreadPoolExecutor(5) as pool:

        def score(rows: int) -> Any:
            return ask(port, "/score", {"x": [[0.0, 1.0]] * rows})

        first = pool.submit(score, 1)
        assert slow.begun.wait(60)
        others = [pool.submit(score, rows) for rows in (2, 3, 4)]
        while ask(port, "/health").json["waiting"] < 3:
            pass
        busy = score(1)
        assert (busy.status, busy.headers["Retry-After"]) == (503, "1")
        slow.free.set()
        answers = [first.result(), *(other.result() for other in others)]
        assert [answer.status for answer in answers] == [200] * 4
        assert [len(answer.json["score"]) for answer in answers] == [1, 2, 3, 4]
        assert slow.sizes == [1, 9]


def test_a_request_over_its_time_and_a_bug(vector_run):
    slow = Slow(innflow.load(vector_run))
    with served(slow.app, Limits(seconds=1)) as port:
        late = ask(port, "/score", {"x": [[0.0, 1.0]]})
        slow.free.set()
        assert (late.status, late.json) == (504, {"error": "no result within 1 s"})

    def fail(x: Any) -> Any:
        raise RuntimeError("a secret of the server")

    slow.app.score = fail
    with served(slow.app) as port:
        answer = ask(port, "/score", {"x": [[0.0, 1.0]]})
        assert answer.status == 500
        assert "secret" not in answer.json["error"]
