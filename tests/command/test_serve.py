"""innflow-serve: the process, and what stops it before it listens."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from http.client import HTTPConnection

import pytest

from innflow.serve import listen


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("prt=80",), "prt is unknown"),
        (("rows=0",), "rows=0: must be an integer from 1"),
        (("host=null",), "host=None: must be text"),
        (("port=80000",), "port=80000: cannot listen"),
    ],
)
def test_a_wrong_argument_is_one_line(command, vector_run, arguments, says):
    answer = command("innflow-serve", f"run={vector_run}", *arguments)
    assert answer.code == 2
    assert says in answer.err
    assert len(answer.err.splitlines()) == 1


def test_a_port_in_use_and_a_missing_package_are_one_line(command, vector_run, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        answer = command("innflow-serve", f"run={vector_run}", f"port={port}")
    assert (answer.code, f"port={port}: cannot listen" in answer.err) == (2, True)
    for name in [name for name in sys.modules if name.startswith("innflow.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    answer = command("innflow-serve", f"run={vector_run}", "port=0")
    assert (answer.code, "pip install 'innflow[serve]'" in answer.err) == (2, True)


def test_the_body_of_an_answer_does_not_wait_for_the_client():
    with listen("127.0.0.1", 0) as listener:
        with socket.create_connection(listener.getsockname()):
            connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.extended
def test_the_process_answers_and_stops(vector_run):
    code = "from innflow.command.main import serve; serve()"
    line = [sys.executable, "-c", code, f"run={vector_run}", "port=0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(line, text=True, **pipes) as process:
        try:
            address = process.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:")
            connection = HTTPConnection(address.removeprefix("http://"), timeout=60)
            connection.request("POST", "/score", json.dumps({"x": [[0.0, 1.0]]}))
            assert 0 < json.loads(connection.getresponse().read())["p_value"][0] <= 1
            process.send_signal(signal.SIGINT)
            assert process.wait(60) in (0, 130)
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()
