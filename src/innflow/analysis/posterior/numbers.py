"""Numbers at single observations, and the metrics and tables that summarise them."""

from collections.abc import Callable, Mapping

import numpy as np

from innflow.analysis.findings import Table

QUANTITIES = {
    "c2st": ("C2ST", "accuracy of a classifier between two sets of draws; 0.5 is chance"),
    "err_post": ("Err_post", ""),
    "mean_error": ("mean error", "largest error of a mean, in posterior standard deviations"),
    "covariance_error": ("covariance error", "relative, in the Frobenius norm"),
    "err_resim": ("Err_resim", "mean of |f(x) - y|^2, in squared units of the data"),
}
"""Quantity -> (title, meaning)."""
SOURCES = {"": "", "_floor": ", exact draws", "_prior": ", prior draws"}
"""Suffix of a quantity -> draws compared with the reference; those of the model without suffix."""
METRICS: dict[str, tuple[str, Callable[[np.ndarray], float]]] = {
    "c2st": ("c2st", np.mean),
    "c2st_floor": ("c2st_floor", np.mean),
    "err_post_median": ("err_post", np.median),
    "err_post_mean": ("err_post", np.mean),
    "err_post_floor": ("err_post_floor", np.median),
    "err_post_prior": ("err_post_prior", np.median),
    "mean_error": ("mean_error", np.median),
    "mean_error_worst": ("mean_error", np.max),
    "mean_error_floor": ("mean_error_floor", np.mean),
    "covariance_error": ("covariance_error", np.median),
    "covariance_error_worst": ("covariance_error", np.max),
    "covariance_error_floor": ("covariance_error_floor", np.mean),
    "err_resim_median": ("err_resim", np.median),
    "err_resim_mean": ("err_resim", np.mean),
    "err_resim_reference": ("err_resim_floor", np.median),
}
"""Metric name after `posterior/` -> (quantity, its statistic over the observations)."""


class Numbers:
    """Values of quantities by the position of their observation in test."""

    def __init__(self) -> None:
        self._values: dict[str, dict[int, float]] = {}

    def add(self, quantity: str, position: int, value: float) -> None:
        """Add one value."""
        self._values.setdefault(quantity, {})[position] = value

    def of(self, quantity: str) -> np.ndarray:
        """Return all values (K,) of a quantity; empty where it was not computed."""
        return np.array(list(self._values.get(quantity, {}).values()), dtype=np.float64)

    def metrics(self) -> dict[str, float]:
        """Return the metrics of the quantities that were computed."""
        return {
            f"posterior/{name}": float(statistic(self.of(quantity)))
            for name, (quantity, statistic) in METRICS.items()
            if quantity in self._values
        }

    def summary(self, meanings: Mapping[str, str]) -> Table:
        """Return the table of all quantities; `meanings` replace those of `QUANTITIES`."""
        rows = []
        for key, (title, meaning) in QUANTITIES.items():
            own, exact, prior = (self.of(key + suffix) for suffix in SOURCES)
            if len(own):
                found = [np.median(own), own.mean(), own.max()]
                found += [np.median(values) if len(values) else np.nan for values in (exact, prior)]
                meaning = meanings.get(key, meaning)
                rows.append([title, f"{len(own)}", *map(_cell, found), meaning])
        columns = ["quantity", "observations", "median", "mean", "worst"]
        columns += ["median of exact draws", "median of prior draws", "meaning"]
        return Table("Draws compared with the reference", columns, rows)

    def table(self, names: Mapping[int, str]) -> Table:
        """Return the table of the observations at these positions."""
        found = {
            title + source: self._values[key + suffix]
            for key, (title, _) in QUANTITIES.items()
            for suffix, source in SOURCES.items()
            if key + suffix in self._values
        }
        rows = [
            [name, *(_cell(values.get(i, np.nan)) for values in found.values())]
            for i, name in names.items()
        ]
        return Table("Quantities of each observation", ["observation", *found], rows)


def _cell(value: float) -> str:
    return f"{value:.3g}" if np.isfinite(value) else "-"
