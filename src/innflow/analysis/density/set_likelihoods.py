"""Negative log likelihood of each set."""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from innflow.analysis.findings import Findings, Table
from innflow.analysis.study import Analysis, Study, in_batches
from innflow.metric import bits_per_dim

DRAWS = 8
"""Number of draws of dequantization noise per test image; other sets have one."""


@dataclass
class Likelihood(Analysis):
    """Tabulate bits per dimension of images, nats of vectors, for every set.

    Bits per dimension are the mean over seeded draws of uniform dequantization noise, an upper
    bound of the discrete code length (Theis et al., arXiv:1511.01844).

    >>> Likelihood()
    Likelihood()
    """

    def __call__(self, study: Study) -> Findings:
        """Return `test/nll`, of images also `test/bpd`, its error and `test/bpd_centre`."""
        unit, short = ("bits/dim", "bpd") if study.is_image else ("nats", "nll")
        metrics: dict[str, float] = {}
        rows = []
        for name in study.sets:
            centre = -study.measure(name).log_prob.astype(np.float64)
            draws = study.count(DRAWS, 2) if name == "test" else 1
            nats = _nats_with_noise(study, name, draws) if study.is_image else centre
            values = bits_per_dim(-nats, study.dims) if study.is_image else nats
            key = f"{name}/{short}" if name in ("train", "test") else f"{short}/{name}"
            metrics[key] = float(values.mean())
            error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
            cells = [values.mean(), error, np.median(values)]
            if study.is_image:
                cells.append(bits_per_dim(-centre, study.dims).mean())
            row = [name, str(study.sets[name].role), f"{len(values):,}"]
            rows.append([*row, *(f"{cell:.3f}" for cell in cells)])
            if name == "test":
                metrics["test/nll"] = float(nats.mean())
                if study.is_image:
                    metrics |= {"test/bpd_se": float(error), "test/bpd_centre": float(cells[-1])}
        text = (
            f"Test set ({len(study.index('test')):,} items): {metrics[f'test/{short}']:.3f} "
            f"{unit}; training set ({len(study.index('train')):,} of "
            f"{len(study.sets['train']):,}): {metrics[f'train/{short}']:.3f}. Smaller means more "
            "probable. The run chose nothing on the test set."
        )
        columns = ["set", "role", "items", f"mean {unit}", "standard error", "median"]
        if study.is_image:
            columns.append("mean at bin centre, no bound")
            text += (
                f" Bits per dim are the mean over {study.count(DRAWS, 2)} draws of uniform "
                "dequantization noise for each test image and one for other images, an upper "
                "bound of the discrete code length; the noise depends only on the image and a "
                "seed. At the bin centres, without noise, they are repeatable but not a bound: "
                f"{metrics['test/bpd_centre']:.3f} {unit} on the test set."
            )
        table = Table(f"Negative log likelihood, {unit}", columns, rows)
        return Findings("Likelihood", text, metrics, tables=[table])


def _nats_with_noise(study: Study, name: str, draws: int) -> np.ndarray:
    """Return -log p (N,) in nats of images with dequantization noise, averaged over draws."""
    total = np.zeros(len(study.measure(name)))
    for seed in range(draws):
        log_prob = partial(study.density.log_prob, noise_seed=seed)
        total -= in_batches(log_prob, study.measure(name).data, f"{name}, noise {seed + 1}")
    return total / draws
