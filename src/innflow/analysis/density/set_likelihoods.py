"""Negative log likelihood of each set."""

import itertools
import math
from dataclasses import dataclass

import numpy as np

from innflow.analysis.findings import Findings, Table
from innflow.analysis.study import Analysis, Study, in_batches
from innflow.metric import bits_per_dim


@dataclass
class Likelihood(Analysis):
    """Tabulate bits per dimension of images, nats of vectors, for every set.

    >>> Likelihood()
    Likelihood()
    """

    def __call__(self, study: Study) -> Findings:
        """Return `test/bpd` of images, `test/nll`, and the same for the other sets."""
        unit = "bits/dim" if study.is_image else "nats"
        short = "bpd" if study.is_image else "nll"
        metrics: dict[str, float] = {}
        rows = []
        for name in study.sets:
            log_prob = study.measure(name).log_prob.astype(np.float64)
            values = bits_per_dim(log_prob, study.dims) if study.is_image else -log_prob
            prefix = {"train": f"train/{short}", "test": f"test/{short}"}.get(name)
            metrics[prefix or f"{short}/{name}"] = float(values.mean())
            error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
            shares = [f"{number:.3f}" for number in (values.mean(), error, np.median(values))]
            rows.append([name, str(study.sets[name].role), f"{len(values):,}", *shares])
            if name == "test":
                metrics["test/nll"] = float(-log_prob.mean())
        text = (
            f"Test set ({len(study.index('test')):,} items): {metrics[f'test/{short}']:.3f} "
            f"{unit}; training set ({len(study.index('train')):,} of "
            f"{len(study.sets['train']):,}): {metrics[f'train/{short}']:.3f}. Smaller means more "
            "probable. Nothing was chosen on the test set."
        )
        if study.is_image:
            seeds = itertools.count()
            noisy = in_batches(
                lambda x: study.density.log_prob(x, noise_seed=next(seeds)),
                study.measure("test").data,
                "test with noise",
            )
            metrics["test/bpd_noise"] = float(bits_per_dim(noisy, study.dims).mean())
            text += (
                " These numbers are at the bin centres of the 8-bit pixels, without noise: they "
                "are reproducible, but no bound. With uniform dequantization noise, one draw an "
                "image, the mean is an upper bound of the discrete code length: "
                f"{metrics['test/bpd_noise']:.3f} {unit} on test."
            )
        columns = ["set", "role", "items", f"mean {unit}", "standard error", "median"]
        table = Table(f"Negative log likelihood, {unit}", columns, rows)
        return Findings("Likelihood", text, metrics, tables=[table])
