"""AUROC of FlowAnomalyDetector on tables of ADBench.

python -m benchmarks.adbench data=DIR [seeds=0,1,2,3,4] [only=cardio,yeast]

DIR holds the tables as .npz files (X, y; 1 is an anomaly) and published.csv. Protocol of Livernoche
et al. (2023): of the normal rows the first half is the training set, the others and all anomalies
are the test set; tables of more than 50,000 rows are reduced to 50,000. Labels are used for the
AUROC alone.
"""

import csv
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from innflow.estimator import FlowAnomalyDetector

LARGEST = 50_000


def split(path: Path, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return training rows, test rows, and 1 for each test row that is an anomaly."""
    with np.load(path) as archive:
        x, label = archive["X"].astype(np.float64), archive["y"].astype(int)
    if len(x) > LARGEST:
        kept = np.sort(np.random.default_rng(seed).choice(len(x), LARGEST, replace=False))
        x, label = x[kept], label[kept]
    usual = np.flatnonzero(label == 0)
    half = len(usual) // 2
    test = np.concatenate([usual[half:], np.flatnonzero(label == 1)])
    return x[usual[:half]], x[test], label[test]


def main(data: Path, seeds: list[int], only: list[str]) -> None:
    """Print the AUROC of each table and seed, and write results as JSON to stdout's last line."""
    torch.set_num_threads(1)
    with (data / "published.csv").open(newline="") as file:
        published = {row["dataset"]: row for row in csv.DictReader(file)}
    found: dict[str, list[float]] = {}
    started = time.perf_counter()
    for path in sorted(data.glob("*.npz")):
        if only and path.stem not in only:
            continue
        for seed in seeds:
            train, test, label = split(path, seed)
            begun = time.perf_counter()
            scores = -FlowAnomalyDetector(random_state=seed).fit(train).score_samples(test)
            auroc = 100 * roc_auc_score(label, scores)
            found.setdefault(path.stem, []).append(auroc)
            knn = float(published[path.stem]["KNN"])
            seconds = time.perf_counter() - begun
            print(
                f"{path.stem:12s} seed {seed}  {auroc:.2f}  KNN {knn:.2f}  {seconds:.0f} s",
                flush=True,
            )
    means = {name: float(np.mean(values)) for name, values in found.items()}
    knn = np.mean([float(published[name]["KNN"]) for name in means])
    minutes = (time.perf_counter() - started) / 60
    print(
        f"mean of {len(means)} tables {np.mean(list(means.values())):.2f}, KNN (published) "
        f"{knn:.2f}, {minutes:.1f} minutes"
    )
    print(json.dumps(found))


if __name__ == "__main__":
    given = dict(argument.split("=", 1) for argument in sys.argv[1:])
    main(
        Path(given["data"]),
        [int(seed) for seed in given.get("seeds", "0").split(",")],
        [name for name in given.get("only", "").split(",") if name],
    )
