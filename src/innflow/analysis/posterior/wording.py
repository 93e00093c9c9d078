"""Metrics, sentences and a table of the numbers at single observations."""

from collections.abc import Iterable, Mapping

import numpy as np

from innflow.analysis.findings import Table

COLUMNS = {
    "c2st": "C2ST",
    "err_post": "Err_post",
    "err_post_floor": "Err_post, exact",
    "err_resim": "Err_resim",
    "err_resim_reference": "Err_resim, exact",
    "mean_error": "mean error",
    "covariance_error": "covariance error",
}


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

    def table(self, names: Mapping[int, str]) -> Table:
        """Return the table of the observations at these positions."""
        found = {title: self._values[key] for key, title in COLUMNS.items() if key in self._values}
        rows = [
            [name, *(f"{values[i]:.3g}" if i in values else "-" for values in found.values())]
            for i, name in names.items()
        ]
        return Table("Observation by observation", ["observation", *found], rows)


def judge_c2st(found: Numbers, metrics: dict[str, float]) -> str:
    """Add C2ST and its floor to the metrics, and return a sentence on them (may be empty)."""
    c2st, floor = found.of("c2st"), found.of("c2st_floor")
    if not len(c2st):
        return ""
    metrics["posterior/c2st"] = c2st.mean()
    text = (
        "C2ST, the accuracy of a classifier that separates the draws from those of the reference "
        f"(0.5 is chance): mean {c2st.mean():.3f} over {len(c2st)} observations, worst "
        f"{c2st.max():.3f}."
    )
    if len(floor):
        metrics["posterior/c2st_floor"] = floor.mean()
        text += (
            f" Two independent sets of reference draws: {floor.mean():.3f}, mean over {len(floor)}."
        )
    return text


def judge_err_post(found: Numbers, metrics: dict[str, float], draws: int, unit: str) -> str:
    """Add Err_post and its floor to the metrics, and return a sentence on them (may be empty)."""
    error, floor = found.of("err_post"), found.of("err_post_floor")
    if not len(error):
        return ""
    metrics["posterior/err_post_median"] = float(np.median(error))
    metrics["posterior/err_post_mean"] = error.mean()
    text = (
        f"Err_post, the squared MMD between {draws:,} draws and as many of the reference, in "
        f"{unit}: median {np.median(error):.4f}, mean {error.mean():.4f} over {len(error)} "
        "observations."
    )
    if len(floor):
        metrics["posterior/err_post_floor"] = float(np.median(floor))
        text += f" Two independent sets of reference draws: median {np.median(floor):.4f}."
    return text


def judge_moments(found: Numbers, metrics: dict[str, float], draws: int) -> str:
    """Add the errors of moments to the metrics, and return a sentence on them."""
    if not len(found.of("mean_error")):
        return ""
    for key in ("mean_error", "covariance_error"):
        values = found.of(key)
        metrics[f"posterior/{key}"] = float(np.median(values))
        metrics[f"posterior/{key}_worst"] = values.max()
        metrics[f"posterior/{key}_floor"] = found.of(f"{key}_floor").mean()
    return (
        "Largest error of a posterior mean, in posterior standard deviations: "
        f"median over observations {metrics['posterior/mean_error']:.3f}, worst "
        f"{metrics['posterior/mean_error_worst']:.3f}; about "
        f"{metrics['posterior/mean_error_floor']:.3f} for exact draws, the Monte-Carlo error of "
        f"{draws:,} draws of each. Relative error of the covariance: "
        f"median {metrics['posterior/covariance_error']:.3f}, worst "
        f"{metrics['posterior/covariance_error_worst']:.3f}; exact draws "
        f"{metrics['posterior/covariance_error_floor']:.3f}."
    )


def judge_resimulation(
    found: Numbers, metrics: dict[str, float], draws: int, remarks: Iterable[str]
) -> str:
    """Add Err_resim to the metrics, and return sentences on it with the remarks."""
    error, own, failed = (
        found.of(key) for key in ("err_resim", "err_resim_reference", "not_finite")
    )
    sentences = []
    if len(error):
        metrics["posterior/err_resim_median"] = float(np.median(error))
        metrics["posterior/err_resim_mean"] = error.mean()
        sentences.append(
            f"Err_resim, the mean of |f(x) - y|^2 over {draws:,} draws x, in squared units of the "
            f"data: median {np.median(error):.3g}, mean {error.mean():.3g} over {len(error)} "
            "observations."
        )
    sentences += remarks
    if len(own):
        metrics["posterior/err_resim_reference"] = float(np.median(own))
        sentences.append(f"Draws of the reference: median {np.median(own):.3g}.")
    if failed.any():
        sentences.append(
            f"The forward model gives nothing finite for {failed.mean():.2%} of the draws, which "
            "are left out."
        )
    return " ".join(sentences)
