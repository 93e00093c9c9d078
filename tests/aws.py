"""AWS on loopback: moto's server, and an environment that leads to it and nowhere else."""

from __future__ import annotations

import logging
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Event, Thread

import pytest
from moto.server import ThreadedMotoServer


@contextmanager
def serving() -> Iterator[str]:
    """Run a server and give its address."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # or it logs requests on our stderr
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@contextmanager
def spoiling(server: str, spoil: Callable[[int], str]) -> Iterator[str]:
    """Run a proxy of a server that spoils reads of objects, and give its address.

    Args:
        server: Address of the server.
        spoil: Returns what happens to the next read, of which it is given the number: "503",
            "stall" and "cut" in the middle of the body, or nothing.
    """
    numbers, over = count(), Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            request = urllib.request.Request(server + self.path, headers=dict(self.headers))
            try:
                with urllib.request.urlopen(request, timeout=60) as found:
                    code, headers, body = found.status, found.headers, found.read()
            except urllib.error.HTTPError as error:
                code, headers, body = error.code, error.headers, error.read()
            lists = "list-type" in self.path or self.path.count("/") < 3
            how = "" if lists or code >= 400 else spoil(next(numbers))
            if how == "503":
                code, body = 503, b"<Error><Code>SlowDown</Code><Message>slow</Message></Error>"
            self.send_response(code)
            for name in ("ETag", "Content-Type", "Content-Range", "Last-Modified"):
                if name in headers:
                    self.send_header(name, headers[name])
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if how in ("stall", "cut") else body)
            self.wfile.flush()
            if how == "stall":
                over.wait()
            self.close_connection = how in ("stall", "cut")

        def log_message(self, *arguments: object) -> None:
            pass

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}"
    finally:
        over.set()
        proxy.shutdown()
        proxy.server_close()


def lead_to(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty a server, and let whoever asks for AWS in this process and its children find it."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "none")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    reset = urllib.request.Request(f"{server}/moto-api/reset", method="POST")
    urllib.request.urlopen(reset, timeout=60).close()
