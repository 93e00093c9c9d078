"""innflow-serve: a trained run behind HTTP."""

from collections.abc import Mapping, Sequence
from typing import Any

from innflow.command.arguments import check_arguments, load_run
from innflow.errors import InnflowError


def serve(arguments: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Serve a run until the process is stopped."""
    check_arguments(arguments, overrides)
    try:
        from innflow.serve import Limits, make_server, run_server
    except ImportError as error:
        raise InnflowError(f"{error.name} is not installed; pip install 'innflow[serve]'") from None
    app = load_run(arguments).eval()
    limits = Limits(**{name: arguments[name] for name in vars(Limits())})
    run_server(make_server(app, limits, arguments["host"]), arguments["host"], arguments["port"])
