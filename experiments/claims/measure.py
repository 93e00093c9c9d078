"""Numbers of a claim from its run folders: metrics.json, metrics.csv, scores.csv, some draws."""

from __future__ import annotations

import csv
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

import innflow
from experiments.claims.runs import CLASSES
from innflow.app import Inverse
from innflow.problem import arm, traveltime

Numbers = dict[str, dict[str, float | None]]
"""Panel, such as a pair of data sets -> side, such as a score -> number; None for undefined."""
Folders = Mapping[str, Path]
"""Name of a run -> its folder."""

AUROC = ("likelihood", "ratio", "last_scale", "png", "webp")
RELATIVE_PNG = "PNG"
"""Side of the mean PNG length of the outliers, relative to that of the inliers."""
OTHERS = "its other classes"
BINS = 40
DRAWS, PROFILES = 200, 2000


@dataclass
class Found:
    """What one seed of a claim gives.

    Attributes:
        numbers: By panel and side.
        series: Arrays as lists, for the figure alone.
    """

    numbers: Numbers
    series: dict[str, Any] = field(default_factory=dict)


def read_metrics(run: Path) -> dict[str, float]:
    """Return the final metrics of a run."""
    found: dict[str, float] = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return found


def read_column(run: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and values of a column of metrics.csv, each (K,), where it has values."""
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["step"], row[name]) for row in csv.DictReader(file) if row.get(name)]
    table = np.array(rows, dtype=np.float64).reshape(-1, 2)
    return table[:, 0] + 1, table[:, 1]


def read_scores(run: Path, columns: Sequence[str]) -> dict[str, dict[str, np.ndarray]]:
    """Return set -> column -> values (N,) of scores.csv."""
    rows = defaultdict[str, list[list[float]]](list)
    with (run / "scores.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            rows[row["set"]].append([float(row[name]) for name in columns])
    return {
        name: dict(zip(columns, np.array(values).T, strict=True)) for name, values in rows.items()
    }


def png_lengths(run: Path) -> dict[str, float]:
    """Return the mean length of the PNG files of each set in bits.

    The score `png` is -log2 p less the length.
    """
    found = read_scores(run, ["log_prob", "png"])
    return {
        name: float((-of["log_prob"] / math.log(2) - of["png"]).mean())
        for name, of in found.items()
    }


def detection(
    run: Path, inliers: str, scores: Sequence[str] = AUROC, mean: bool = False
) -> Numbers:
    """Return the AUROC of each score against each outlier set, and the relative PNG length.

    Args:
        run: A finished run.
        inliers: Name of the inliers, before that of the outliers in the name of a panel.
        scores: Names; those that the run lacks are left out.
        mean: One panel, with the means over all outlier sets.
    """
    metrics, lengths = read_metrics(run), png_lengths(run)
    known = [name for name in lengths if f"ood/likelihood/{name}/auroc" in metrics]
    panels = {"mean": OTHERS} if mean else {name: name for name in known}
    found: Numbers = {}
    for key, shown in panels.items():
        of = {score: metrics.get(f"ood/{score}/{key}/auroc") for score in scores}
        sides = {score: value for score, value in of.items() if value is not None}
        chosen = known if mean else [key]
        length = float(np.mean([lengths[name] for name in chosen]))
        found[f"{inliers} / {shown}"] = {**sides, RELATIVE_PNG: length / lengths["test"]}
    return found


def histograms(run: Path, inliers: str) -> dict[str, Any]:
    """Return edges and shares of the bits per dim (bin centres) of the inliers and all outliers."""
    values = {name: of["bits_per_dim"] for name, of in read_scores(run, ["bits_per_dim"]).items()}
    shown = {name: x for name, x in values.items() if name not in ("train", "val")}
    pooled = np.concatenate(list(shown.values()))
    low, high = np.quantile(pooled, [0.001, 0.999])
    edges = np.linspace(low, high, BINS + 1)
    shares = {
        inliers if name == "test" else name: np.histogram(x.clip(low, high), edges)[0] / len(x)
        for name, x in shown.items()
    }
    return {
        "inliers": inliers,
        "edges": rounded(edges),
        "shares": {name: rounded(x) for name, x in shares.items()},
    }


def smooth_outliers(runs: Folders) -> Found:
    """Claim 1: raw likelihood against all outlier sets of two models."""
    pairs = {"cats": runs["cats_scratch"], "CIFAR10": runs["cifar10"]}
    numbers: Numbers = {}
    for inliers, run in pairs.items():
        numbers |= detection(run, inliers, ("likelihood",))
    return Found(numbers, {name: histograms(run, name) for name, run in pairs.items()})


def scores(runs: Folders) -> Found:
    """Claims 2, 3 and 6: every score against all outlier sets of the fine-tuned models."""
    numbers = detection(runs["cats"], "cats") | detection(runs["cifar10"], "CIFAR10")
    for name in CLASSES:
        if name in runs:
            numbers |= detection(runs[name], name, mean=True)
    return Found(numbers)


def outlier_loss(runs: Folders) -> Found:
    """Claim 4: the ratio with and without the outlier loss."""
    numbers: Numbers = {}
    for name in CLASSES:
        metrics = {
            "without": read_metrics(runs[name]),
            "with": read_metrics(runs[f"{name}_outlier_loss"]),
        }
        numbers[f"{name} / {OTHERS}"] = {
            f"{side} loss": found["ood/ratio/mean/auroc"] for side, found in metrics.items()
        }
    return Found(numbers)


def fine_tuning(runs: Folders) -> Found:
    """Claim 5: the steps at which the fine-tuned model is as good as the other one ever is."""
    steps, scratch = read_column(runs["cats_scratch"], "val/bpd")
    own, tuned = read_column(runs["cats"], "val/bpd")
    good = own[tuned <= scratch.min()]
    share = float(good[0] / steps[-1]) if len(good) else None
    numbers: Numbers = {
        "share of the steps": {"fine-tuned": share},
        "best val/bpd": {"from scratch": float(scratch.min()), "fine-tuned": float(tuned.min())},
    }
    series = {
        "from scratch": [rounded(steps), rounded(scratch)],
        "fine-tuned": [rounded(own), rounded(tuned)],
    }
    return Found(numbers, series)


def clothes(runs: Folders) -> Found:
    """Claims 7 and 8: raw likelihood of clothes against digits for several models."""
    return Found(
        {
            "clothes / digits": {
                name.removeprefix("clothes_").replace("_", ", "): read_metrics(run)[
                    "ood/likelihood/mnist/auroc"
                ]
                for name, run in runs.items()
            }
        }
    )


def features(runs: Folders) -> Found:
    """Claim 9: AUROC on pixels and on features."""
    pixels, found = (read_metrics(runs[name]) for name in ("cats_scratch", "cats_features"))
    sides = {
        "pixels, likelihood": (pixels, "likelihood"),
        "features, flow": (found, "likelihood"),
        "features, one Gaussian": (found, "mahalanobis"),
        "features, 5 neighbours": (found, "neighbours"),
    }
    return Found(
        {
            f"cats / {name}": {
                side: of[f"ood/{score}/{name}/auroc"] for side, (of, score) in sides.items()
            }
            for name in ("dog", "ball", "mushroom", "pizza")
        }
    )


def phases(runs: Folders) -> Found:
    """Claim 10: correlation of log p with that of the donors of amplitudes and of phases."""
    shown = {"cats": "cats_scratch", "CIFAR10": "cifar10"}
    return Found(
        {
            name: {
                donor: read_metrics(runs[run])[f"amplitude_phase/{donor}/pearson"]
                for donor in ("amplitude", "phase")
            }
            for name, run in shown.items()
        }
    )


def arm_training(runs: Folders) -> Found:
    """Claim 11: what each test says of the arm's flow trained by MMD, and of one by likelihood."""
    ways = {"MMD": runs["arm_mmd"], "likelihood": runs["arm_likelihood"]}
    numbers: Numbers = defaultdict(dict)
    goal = np.array([1.5, 0.0])
    exact = arm.posterior(goal, DRAWS, np.random.default_rng(0), None)
    series = {"exact": _angles(exact)}
    for way, run in ways.items():
        found = read_metrics(run)
        share = found["posterior/err_post_median"] / found["posterior/err_post_prior"]
        numbers["MMD² / prior's"][way] = share
        numbers["SBC, p"][way] = found["posterior/sbc_p"]
        numbers["TARP, p"][way] = found["posterior/tarp_p"]
        numbers["C2ST"][way] = found["posterior/c2st"]
        series[way] = _angles(_draw(run, goal, DRAWS))
    numbers["C2ST"]["floor"] = read_metrics(ways["MMD"])["posterior/c2st_floor"]
    return Found(dict(numbers), series)


def noise_input(runs: Folders) -> Found:
    """Claim 12: posteriors with the noise as input, ignored, and in the context alone."""
    ways = {
        "noise as input": runs["traveltime_noise"],
        "noise ignored": runs["traveltime_ignored"],
        "y as context": runs["traveltime_context"],
    }
    rng = np.random.default_rng(0)
    x = rng.multivariate_normal(traveltime.MODEL.mean, traveltime.MODEL.covariance)
    y = traveltime.MODEL.matrix @ x + traveltime.NOISE * rng.standard_normal(traveltime.LAYERS)
    factor = traveltime.NOISE * np.eye(traveltime.LAYERS)
    exact = traveltime.posterior(y, PROFILES, rng, factor)
    series = {"truth": rounded(x), "exact": _quantiles(exact)}
    numbers: Numbers = {"C2ST": {}, "sharpness": {}}
    for way, run in ways.items():
        found = read_metrics(run)
        numbers["C2ST"][way] = found["posterior/c2st"]
        numbers["sharpness"][way] = found["posterior/sharpness"]
        series[way] = _quantiles(_draw(run, y, PROFILES))
    numbers["C2ST"]["floor"] = read_metrics(ways["noise as input"])["posterior/c2st_floor"]
    return Found(numbers, series)


def rounded(values: Any) -> list[Any]:
    """Return an array as nested lists of numbers of five digits."""
    return np.vectorize(lambda value: float(f"{value:.5g}"))(np.asarray(values)).tolist()


def _draw(run: Path, y: np.ndarray, n: int) -> np.ndarray:
    app = cast(Inverse, innflow.load(run))
    draws: np.ndarray = app.posterior(torch.from_numpy(y).float(), n=n, seed=0).numpy()
    return draws


def _angles(draws: np.ndarray) -> list[Any]:
    """Return the first two joint angles of draws (n, 4), as (2, n)."""
    return rounded(draws[:, 1:3].T)


def _quantiles(draws: np.ndarray) -> list[Any]:
    """Return the quantiles at 16, 50 and 84% of each parameter, (3, P)."""
    return rounded(np.quantile(draws, [0.16, 0.5, 0.84], axis=0))
