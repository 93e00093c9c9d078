"""Files of innflow-posterior: draws, summaries and figures."""

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from innflow.analysis.posterior.resimulation import Resimulation
from innflow.app import Correction
from innflow.figure.posterior.pairs import MOST_PAIRS, plot_pairs
from innflow.figure.posterior.profile import plot_profile, plot_resimulation
from innflow.metric.summary import QUANTILES, Summary
from innflow.system.file.atomic import write_json
from innflow.system.progress import track

DRAWN = 4
"""Observations with figures."""


@dataclass(frozen=True)
class Posteriors:
    """The posteriors of B observations, by n draws each."""

    parameters: Sequence[str]  # names of the P parameters
    observables: Sequence[str]  # names of the M data
    y: np.ndarray  # (B, M) observations
    x: np.ndarray  # (B, n, P) draws
    eps: np.ndarray | None  # (B, n, M) noise of the same draws, where the run has it
    log_prob: np.ndarray | None  # (B, n) log p(x | y) in nats, where the run has it
    misspecification_p: np.ndarray  # (B,) p-values, small where y is unlike the simulations
    summaries: Sequence[Summary]  # one for each observation
    truth: np.ndarray | None  # (B, P) true parameters, if known
    resimulations: Sequence[Resimulation]  # one for each observation, or none
    corrections: Sequence[Correction]  # one for each observation, or none
    local_p: Sequence[float]  # p-values of L-C2ST, one for each observation, or none
    warnings: Sequence[str]  # reasons not to trust these posteriors


def write_draws(result: Posteriors, folder: Path) -> None:
    """Write posterior.csv and posterior.npz, and proposals.csv with weights of a correction."""
    arrays = {"x": result.x, "y": result.y, "eps": result.eps, "log_prob": result.log_prob}
    if result.corrections:
        proposals = np.stack([one.proposals.cpu().numpy() for one in result.corrections])
        weights = np.stack([one.importance.weights for one in result.corrections])
        arrays |= {"proposals": proposals, "weights": weights}
    arrays |= {"names": np.array(result.parameters), "observables": np.array(result.observables)}
    known: dict[str, Any] = {name: part for name, part in arrays.items() if part is not None}
    np.savez(folder / "posterior.npz", **known)
    _write_rows(folder / "posterior.csv", result.parameters, result.x)
    if result.corrections:
        # Weights of mean 1, as of draws without correction.
        columns = np.concatenate([proposals, weights[..., None] * weights.shape[1]], axis=2)
        names = [*result.parameters, "weight"]
        _write_rows(folder / "proposals.csv", names, columns.astype(np.float32))


def _write_rows(path: Path, names: Sequence[str], rows: np.ndarray) -> None:
    """Write rows (B, n, P) with the number of their observation where there are several."""
    several = len(rows) > 1
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*["observation"] * several, *names])
        for number, draws in enumerate(track(rows, path.name)):
            # As text in single precision, which needs fewer digits than Python's own floats.
            writer.writerows([*[number] * several, *row] for row in draws.astype(str).tolist())


def write_summary(result: Posteriors, folder: Path) -> None:
    """Write summary.csv, by observation and parameter, and summary.json, by observation."""
    truth = [] if result.truth is None else ["truth"]
    levels = [f"q{100 * level:g}" for level in QUANTILES]
    with (folder / "summary.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["observation", "parameter", "mean", "sd", *levels, "map", *truth])
        for number, summary in enumerate(result.summaries):
            columns = [summary.mean, summary.sd, *summary.quantiles, summary.mode]
            columns += [] if result.truth is None else [result.truth[number]]
            for name, *values in zip(result.parameters, *columns, strict=True):
                writer.writerow([number, name, *(f"{value:.7g}" for value in values)])
    entries: list[dict[str, Any]] = [
        {"observation": number, "misspecification_p": p}
        for number, p in enumerate(result.misspecification_p.tolist())
    ]
    for entry, p in zip(entries, result.local_p, strict=False):
        entry["lc2st_p"] = p
    for entry, again in zip(entries, result.resimulations, strict=False):
        entry["resimulation"] = {
            "draws": len(again.y),
            "left_out": again.left_out,
            "error": again.error,
            "rms": dict(zip(result.observables, again.rms.tolist(), strict=True)),
        }
    for entry, one in zip(entries, result.corrections, strict=False):
        found = one.importance
        entry["correction"] = {
            "proposals": len(found.weights),
            "effective_sample_size": found.effective,
            "efficiency": found.efficiency,
            "pareto_k": found.pareto_k if math.isfinite(found.pareto_k) else None,
            "log_evidence": found.log_evidence,
            "log_evidence_error": found.log_evidence_error,
            "distinct_draws": one.distinct,
        }
    about = {"n": result.x.shape[1], "warnings": list(result.warnings)}
    write_json(folder / "summary.json", {**about, "observations": entries})


def write_figures(
    result: Posteriors, folder: Path, limits: np.ndarray, noise_sd: np.ndarray | None
) -> None:
    """Draw pairs.png or profile.png, and resimulation.png, of the first observations in figures/.

    The names end in the numbers of the observations, where there are several.

    Args:
        result: the posteriors.
        folder: the parent of figures/.
        limits: (P, 2) lowest and highest possible values.
        noise_sd: (M,) standard deviations of the declared noise, where there is one.
    """
    (folder / "figures").mkdir()
    for number, draws in enumerate(result.x[:DRAWN]):
        ending = f"_{number}.png" if len(result.x) > 1 else ".png"
        truth = None if result.truth is None else result.truth[number]
        if len(result.parameters) <= MOST_PAIRS:
            pairs = plot_pairs(draws, result.parameters, truth=truth, limits=limits)
            pairs.savefig(folder / f"figures/pairs{ending}")
        else:
            profile = plot_profile(draws, result.parameters, truth=truth)
            profile.savefig(folder / f"figures/profile{ending}")
        if result.resimulations:
            made = result.resimulations[number].y
            figure = plot_resimulation(result.observables, result.y[number], made, noise_sd)
            figure.savefig(folder / f"figures/resimulation{ending}")
