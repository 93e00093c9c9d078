"""How likely each set is under the flow."""

from __future__ import annotations

import inspect
import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from innflow.analysis.findings import Findings, Table
from innflow.analysis.study import Study, in_batches
from innflow.metric import bits_per_dim


@dataclass
class Likelihood:
    """Bits per dimension of images, nats of vectors, on train, test and each outlier set."""

    def __call__(self, study: Study) -> Findings:
        """Measure every set; `test/bpd` and `test/nll` are over the whole of test."""
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
            f"Held-out inliers (test, {len(study.sets['test']):,} items): "
            f"{metrics[f'test/{short}']:.3f} {unit}; training items "
            f"({len(study.index('train')):,} of {len(study.sets['train']):,}): "
            f"{metrics[f'train/{short}']:.3f}. Smaller is likelier. Nothing was chosen on test."
        )
        if study.is_image:
            text += (
                " Evaluation is at the bin centres of the 8-bit pixels, without noise: it repeats "
                "to the last bit."
            )
            # An application may leave the argument out, which its type here does.
            log_prob_of: Any = study.app.log_prob
            if "noise_seed" in inspect.signature(log_prob_of).parameters:
                seeds = itertools.count()
                noisy = in_batches(
                    lambda x: log_prob_of(x, noise_seed=next(seeds)),
                    study.measure("test").data,
                    "test with noise",
                )
                metrics["test/bpd_noise"] = float(bits_per_dim(noisy, study.dims).mean())
                text += (
                    " With uniform dequantization noise, one draw an image (on average a lower "
                    f"bound of the likelihood of the 8-bit image): {metrics['test/bpd_noise']:.3f} "
                    f"{unit} on test."
                )
        columns = ["set", "role", "items", f"mean {unit}", "standard error", "median"]
        table = Table(f"Negative log likelihood, {unit}", columns, rows)
        return Findings("Likelihood", text, metrics, tables=[table])
