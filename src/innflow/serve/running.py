"""Running a server: the socket that it listens on, in this thread or in one of its own."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from innflow.app import Application
from innflow.errors import InnflowError
from innflow.serve.http import Limits, make_server
from innflow.system.progress import announce


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address.

    Raises:
        InnflowError: if it cannot.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family)
        # Connections inherit it. Without it the body of an answer waits 40 ms for the client to
        # acknowledge the header; asyncio sets it only where a socket names its protocol.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InnflowError(f"host={host} port={port}: cannot listen ({reason})") from None


def run_server(server: FastAPI, host: str, port: int) -> None:
    """Print the address of a web application and serve it until the process is stopped.

    Raises:
        InnflowError: as `listen`.
    """
    with listen(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        announce(f"http://{shown}:{listener.getsockname()[1]}")
        config = uvicorn.Config(server, log_level="warning", access_log=False, server_header=False)
        uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def served(app: Application, limits: Limits | None = None) -> Iterator[int]:
    """Serve an application on loopback from a thread within the context, and yield its port.

    Args:
        app: in evaluation mode.
        limits: of requests; the default ones where None.
    """
    config = uvicorn.Config(
        make_server(app, limits or Limits()), log_level="critical", access_log=False
    )
    server = uvicorn.Server(config)
    with listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(30)
    if thread.is_alive():
        raise RuntimeError("the server did not stop within 30 s")
