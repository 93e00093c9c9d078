"""innflow-posterior: draw parameters of an inverse problem, given observed data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from innflow.analysis.posterior.resimulation import build_forward_model, resimulate_or_announce
from innflow.app import Inverse
from innflow.command.arguments import check_arguments, load_run, output_folder
from innflow.command.posterior_files import Posteriors, write_draws, write_figures, write_summary
from innflow.data.table.files import read_rows
from innflow.errors import InnflowError
from innflow.metric.summary import compute_summary
from innflow.run.folder import claim, write_origin
from innflow.system.memory import require_memory
from innflow.system.progress import announce, track

MISSPECIFIED = 0.01
"""p-value below which a warning is printed: the observation is unlike the simulations."""
WARNED, SHOWN = 5, 16
"""Largest numbers of observations with a warning each and of printed parameters."""
ROWS = 10_000
"""Draws in one batch of the density."""


def posterior(arguments: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Draw from p(x | y) for every observation and write draws, summaries and figures."""
    check_arguments(arguments, overrides)
    app = load_run(arguments)
    if not isinstance(app, Inverse):
        raise InnflowError(
            f"run={arguments['run']}: has no posterior, it is a {type(app).__name__}; give a run "
            "with app=inverse"
        )
    parameters = app.feature_names("x", app.shape[0])
    observables = app.feature_names("y", len(app.y_units.mean))
    y = read_rows(arguments["y"], observables, "y")
    truth = None
    if arguments["truth"] is not None:
        truth = read_rows(arguments["truth"], parameters, "truth").numpy()
        if len(truth) != len(y):
            raise InnflowError(f"truth: {len(truth)} rows for {len(y)} observations in y")
    require_memory(f"n={arguments['n']}", 4 * arguments["n"] * len(y) * app.dims)
    out, seed = output_folder(arguments, "posterior"), arguments["seed"] or 0
    with claim(out, key="out"):
        misspecification_p = app.misspecification_p(y).cpu().numpy()
        _warn(misspecification_p, app.misspecification.smallest_p_value)
        drawn = draw(app, y, arguments["n"], seed)
        data = build_forward_model(app, arguments["trust"], arguments["run"])
        arrays = {name: values.numpy() for name, values in drawn.items()}
        observed = y.numpy()
        x, eps, log_prob = arrays["x"], arrays.get("eps"), arrays.get("log_prob")
        densities = [None] * len(y) if log_prob is None else log_prob
        pairs = zip(track(x, "summary"), densities, strict=True)
        summaries = [compute_summary(draws, density) for draws, density in pairs]
        made = [] if data is None else resimulate_or_announce(data, drawn["x"], observed, seed)
        result = Posteriors(
            parameters,
            observables,
            observed,
            x,
            eps,
            log_prob,
            misspecification_p,
            summaries,
            truth,
            made,
        )
        limits = torch.stack((app.x_units.low, app.x_units.high), dim=1).cpu().numpy()
        noise = None if data is None or data.noise is None else data.noise.norm(dim=1).numpy()
        try:
            with TemporaryDirectory(prefix=".partial-", dir=out) as folder:
                partial = Path(folder)
                write_draws(result, partial)
                write_summary(result, partial)
                write_figures(result, partial, limits, noise)
                typed = [f"{key}={value}" for key, value in arguments.items() if value is not None]
                write_origin(partial, {**app.config, "seed": seed}, typed, str(app.device))
                for path in list(partial.iterdir()):
                    path.rename(out / path.name)
        except OSError as error:
            raise InnflowError(f"out={out}: cannot be written ({error.strerror})") from None
    _show(result)
    announce(str(out))


def draw(app: Inverse, y: Tensor, n: int, seed: int) -> dict[str, Tensor]:
    """Draw from the posterior of every row of y, of row i as `app.posterior(y[i], n, seed + i)`.

    Returns:
        x (B, n, P), eps (B, n, M) where the partition has it, and log_prob (B, n) where p(x | y)
        has a closed form.
    """
    found: dict[str, list[Tensor]] = {}
    for row, data in enumerate(track(y.unbind(), "posterior")):
        try:
            x = app.posterior(data, n, seed + row)
        except InnflowError as error:
            raise InnflowError(f"observation {row}: {error}") from None
        found.setdefault("x", []).append(x.cpu())
        if "eps" in app.partition.left:
            found.setdefault("eps", []).append(app.posterior_noise(data, n, seed + row).cpu())
        elif set(app.partition.left) == {"x"}:
            pieces = [app.log_prob(part, data.expand(len(part), -1)) for part in x.split(ROWS)]
            found.setdefault("log_prob", []).append(torch.cat(pieces).cpu())
    return {name: torch.stack(rows) for name, rows in found.items()}


def _warn(misspecification_p: np.ndarray, least: float) -> None:
    # With few simulations the smallest possible p-value, `least`, may be above the limit.
    unlikely = np.flatnonzero((misspecification_p < MISSPECIFIED) | (misspecification_p <= least))
    for row in unlikely[:WARNED]:
        announce(
            f"warning: observation {row} is unlike all simulated data (misspecification p = "
            f"{misspecification_p[row]:.2g}): its posterior is an extrapolation"
        )
    if len(unlikely) > WARNED:
        announce(f"warning: {len(unlikely) - WARNED:,} more are unlike them; see summary.json")


def _show(result: Posteriors) -> None:
    """Print the summary of the first observation."""
    first = result.summaries[0]
    columns = {"mean": first.mean, "sd": first.sd}
    columns |= dict(zip(("2.5%", "50%", "97.5%"), first.quantiles[[0, 2, 4]], strict=True))
    columns["MAP"] = first.mode
    if result.truth is not None:
        columns["truth"] = result.truth[0]
    shown = result.parameters[:SHOWN]
    width = max(len(name) for name in (*shown, "observation 0"))
    announce(f"{'observation 0':<{width}}" + "".join(f"{word:>12}" for word in columns))
    for row, name in enumerate(shown):
        cells = "".join(f"{values[row]:>12.4g}" for values in columns.values())
        announce(f"{name:<{width}}{cells}")
    if len(result.parameters) > SHOWN:
        announce(f"... {len(result.parameters) - SHOWN} more parameters in summary.csv")
    error = ""
    if result.resimulations:
        error = f", mean |f(x) - y|^2 = {result.resimulations[0].error:.3g}"
    announce(f"misspecification p = {result.misspecification_p[0]:.2g}{error}")
