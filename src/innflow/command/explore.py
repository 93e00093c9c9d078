"""innflow-explore: a trained run in the browser."""

from collections.abc import Mapping, Sequence
from typing import Any

from innflow.command.arguments import check_arguments, load_run
from innflow.errors import InnflowError


def explore(arguments: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Serve the page of a run until the process is stopped."""
    check_arguments(arguments, overrides)
    try:
        from innflow.explore import Run, make_explorer
        from innflow.serve import run_server
    except ImportError as error:
        raise InnflowError(
            f"{error.name} is not installed; pip install 'innflow[explore]'"
        ) from None
    app = load_run(arguments).eval()
    host = arguments["host"]
    site = make_explorer(Run(app, arguments["run"], arguments["trust"]), host)
    run_server(site, host, arguments["port"])
