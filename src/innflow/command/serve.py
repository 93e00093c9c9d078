"""innflow-serve: a trained run behind HTTP."""

import socket
from collections.abc import Mapping, Sequence
from typing import Any

from innflow.command.arguments import check_arguments, load_run
from innflow.errors import InnflowError
from innflow.system.progress import announce


def serve(arguments: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Serve a run until the process is stopped."""
    check_arguments(arguments, overrides)
    try:
        import uvicorn

        from innflow.serve import Limits, make_server
    except ImportError as error:
        raise InnflowError(f"{error.name} is not installed; pip install 'innflow[serve]'") from None
    host = arguments["host"]
    app = load_run(arguments).eval()
    limits = Limits(**{name: arguments[name] for name in vars(Limits())})
    server = make_server(app, limits, host)
    with _listen(host, arguments["port"]) as listener:
        shown = f"[{host}]" if ":" in host else host
        announce(f"http://{shown}:{listener.getsockname()[1]}")
        config = uvicorn.Config(server, log_level="warning", access_log=False, server_header=False)
        uvicorn.Server(config).run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address."""
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
