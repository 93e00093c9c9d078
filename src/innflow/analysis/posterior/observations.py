"""Posterior draws at single observations, compared with the exact posterior and resimulated."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from innflow.analysis.findings import Findings, Plot
from innflow.analysis.posterior.draws import (
    draw_posterior,
    has_density,
    log_posterior,
    problem_of,
    require_posterior,
    widen,
)
from innflow.analysis.posterior.numbers import Numbers
from innflow.analysis.posterior.references import References, load_references, try_reference
from innflow.analysis.posterior.resimulation import Resimulation, resimulate
from innflow.analysis.study import Analysis, Study
from innflow.config.bounds import Many, NonNegative, Positive, Several
from innflow.errors import InnflowError
from innflow.figure.posterior.pairs import MOST_PAIRS, plot_pairs
from innflow.figure.posterior.profile import plot_profile, plot_resimulation
from innflow.metric import compute_c2st, compute_err_post, compute_moments
from innflow.system.progress import track

RESIMULATED = 400
"""Largest number of draws per observation for the forward model, which may be slow."""
FLOORS = 2
"""Number of observations at which two sets of reference draws are compared by C2ST."""
JOBS = min(5, os.cpu_count() or 1)
"""Processes for the five folds of the classifier, which takes most of the run time."""
# Streams of random numbers.
DRAWS, EXACT, EXACT_AGAIN, MANY, MANY_EXACT = range(10, 15)
QUICK = {"observations": 1, "draws": 64, "err_observations": 1, "err_draws": 32, "moment_draws": 64}
"""Sizes of a quick study."""

Clouds = Mapping[int, np.ndarray]
"""Position in test -> draws (n, P)."""


@dataclass
class Posterior(Analysis):
    """Compare the posteriors of the first observations of test with the exact ones.

    These observations are used neither for training nor for the choice of the checkpoint.

        >>> Posterior(observations=3, draws=1000).err_observations
        25

    Attributes:
        observations: number of observations compared by C2ST and by moments.
        draws: from the posterior and from the reference at each of them.
        err_observations: number of observations for Err_post and Err_resim.
        err_draws: draws at each of these for Err_post.
        moment_draws: draws at each observation for the moments; 0 means `draws`. More draws reduce
            the Monte-Carlo error; they are practical for a fast reference, as of linear problems.
        standardise: divide parameters by the standard deviations of the prior and take the kernel
            widths of Err_post from the reference; false is the published protocol of the arm (raw
            units, fixed widths).
        shown: number of observations with figures.
    """

    observations: Positive = 10
    draws: Many = 4000
    err_observations: Positive = 25
    err_draws: Several = 2000
    moment_draws: NonNegative = 0
    standardise: bool = True
    shown: NonNegative = 2

    def check(self, study: Study) -> None:
        """Raise InnflowError without a posterior, and for a reference that fails."""
        require_posterior(study, "posterior")
        try_reference(study)

    def __call__(self, study: Study) -> Findings:
        """Compare, resimulate and plot; the names of all metrics begin with `posterior/`."""
        sizes: dict[str, Any] = {
            name: study.count(getattr(self, name), quick) for name, quick in QUICK.items()
        }
        return replace(self, **sizes)._compare(study)

    def _compare(self, study: Study) -> Findings:
        counts = self._counts(len(study.sets["test"]))
        y = study.sets["test"].parts["y"]
        drawn = {
            i: draw_posterior(study, y[i : i + 1], n, (DRAWS, i))[0]
            for i, n in track(counts.items(), "posterior draws", len(counts))
        }
        references = load_references(study, counts, EXACT)
        found, metrics = Numbers(), dict[str, float]()
        compared = min(self.observations, len(counts))
        notes = [
            f"The first {len(counts)} observations of test, on which this run trained and "
            f"chose nothing; {self.draws:,} draws at each of the first {compared}, "
            f"{self.err_draws:,} for Err_post and at most {RESIMULATED} for Err_resim. Draws of "
            "the model are compared with those of the reference; so are a second set of "
            "reference draws (exact draws) and draws from the prior: a quantity is informative "
            "only if these two values differ."
        ]
        if references.draws:
            self._compare_draws(study, drawn, references, found)
            self._compare_moments(study, drawn, references, found)
        elif not references.failed:
            notes.append("These data have no reference posterior for comparison.")
        resimulated = self._resimulate(study, drawn, references, found)
        metrics = found.metrics()
        notes += [
            references.note(),
            *_remarks(study, found),
            _judge_density(study, metrics),
            _judge_support(study, drawn, metrics),
        ]
        names = {i: str(study.sets["test"].names[i]) for i in range(compared)}
        text = "\n\n".join(note for note in notes if note)
        figures = self._figures(study, drawn, references, resimulated)
        unit = "standard deviations of the prior" if self.standardise else "raw units, fixed widths"
        tables = [found.summary({"err_post": f"squared MMD, in {unit}"}), found.table(names)]
        return Findings("Posterior", text, metrics, figures, tables)

    def _counts(self, available: int) -> dict[int, int]:
        """Return the number of draws at each position of test."""
        rows = {i: self.draws for i in range(min(self.observations, available))}
        for i in range(min(self.err_observations, available)):
            rows[i] = max(self.err_draws, rows.get(i, 0))
        return rows

    def _compare_draws(
        self, study: Study, drawn: Clouds, references: References, found: Numbers
    ) -> None:
        """Compute Err_post and C2ST, also of a second set of reference draws and of the prior."""
        known = references.draws
        judged = [i for i in known if i < self.err_observations]
        compared = [i for i in known if i < self.observations]
        again = dict.fromkeys(judged, self.err_draws)
        again |= {i: max(self.draws, self.err_draws) for i in compared[:FLOORS]}
        second = load_references(study, again, EXACT_AGAIN).draws
        prior = study.sets["train"].parts["x"].numpy()
        sd = prior.std(axis=0, ddof=1) if self.standardise else None
        rows = np.random.default_rng(study.seed).permutation(len(prior))[: self.err_draws]
        for i in track(judged, "Err_post"):
            clouds = {"": drawn[i], "_prior": prior[rows], "_floor": second.get(i)}
            for suffix, cloud in clouds.items():
                if cloud is not None:
                    pair = cloud[: self.err_draws], known[i][: self.err_draws]
                    found.add(f"err_post{suffix}", i, compute_err_post(*pair, sd))
        for i in track(compared, "C2ST"):
            exact = known[i][: self.draws]
            other = second.get(i) if i in compared[:FLOORS] else None
            for key, cloud in (("c2st", drawn.get(i)), ("c2st_floor", other)):
                if cloud is not None:
                    pair = _varying(cloud[: self.draws], exact)
                    folds, jobs = study.count(5, 2), study.count(JOBS, 1)
                    found.add(key, i, compute_c2st(*pair, study.seed, folds, jobs))

    def _compare_moments(
        self, study: Study, drawn: Clouds, references: References, found: Numbers
    ) -> None:
        """Compute the errors of means and covariances, and those of exact draws."""
        y = study.sets["test"].parts["y"]
        for i in [i for i in references.draws if i < self.observations]:
            own, exact = drawn[i][: self.draws], references.draws[i][: self.draws]
            if self.moment_draws:
                own = draw_posterior(study, y[i : i + 1], self.moment_draws, (MANY, i))[0]
                many = load_references(study, {i: self.moment_draws}, MANY_EXACT, keep=False)
                if many.failed:
                    raise InnflowError(
                        f"analysis.posterior.moment_draws={self.moment_draws}: {many.failed[i]}"
                    )
                exact = many.draws[i]
            own, exact = _varying(own, exact)
            mean, covariance = exact.mean(axis=0, dtype=np.float64), np.cov(exact, rowvar=False)
            moments = compute_moments(own, mean, np.atleast_2d(covariance))
            found.add("mean_error", i, moments.mean)
            found.add("covariance_error", i, moments.covariance)
            # The reference is a sample of the same size, with as much Monte-Carlo error.
            found.add("mean_error_floor", i, 2**0.5 * moments.mean_floor)
            found.add("covariance_error_floor", i, 2**0.5 * moments.covariance_floor)

    def _resimulate(
        self, study: Study, drawn: Clouds, references: References, found: Numbers
    ) -> dict[int, Resimulation]:
        """Resimulate the draws and those of the reference, and compute Err_resim."""
        resimulated: dict[int, Resimulation] = {}
        if problem_of(study).forward is None:
            return resimulated
        y = study.sets["test"].parts["y"].numpy()
        for key, clouds in (("err_resim", drawn), ("err_resim_floor", references.draws)):
            places = [i for i in clouds if i < self.err_observations]
            draws = [torch.from_numpy(clouds[i][:RESIMULATED]) for i in places]
            made = resimulate(problem_of(study), draws, y[places], study.seed)
            for i, one in zip(places, made, strict=True):
                if key == "err_resim":
                    resimulated[i] = one
                    found.add("not_finite", i, one.left_out / (one.left_out + len(one.y)))
                if len(one.y):
                    found.add(key, i, one.error)
        return resimulated

    def _figures(
        self,
        study: Study,
        drawn: Clouds,
        references: References,
        resimulated: Mapping[int, Resimulation],
    ) -> dict[str, Plot]:
        figures = {}
        test, data = study.sets["test"], problem_of(study)
        sd = None if data.noise is None else data.noise.square().sum(dim=1).sqrt().numpy()
        for i in list(drawn)[: self.shown]:
            exact = references.draws.get(i)
            lines = "" if exact is None else " Lines: draws of the exact posterior."
            figures[f"observation_{i}"] = Plot(
                _plot_draws(study, drawn[i], exact, test.parts["x"][i].numpy()),
                f"{test.names[i]}: {len(drawn[i]):,} draws of the posterior, and the true "
                f"parameters.{lines}",
            )
            if i in resimulated and len(resimulated[i].y):
                made, y = resimulated[i].y, test.parts["y"][i].numpy()
                figures[f"resimulation_{i}"] = Plot(
                    plot_resimulation(data.columns["y"], y, made, sd),
                    f"{test.names[i]}: resimulated data of {len(made):,} draws, compared with the "
                    "observation.",
                )
        return figures


def _varying(draws: np.ndarray, exact: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out columns that are constant in the exact draws: their standard deviation is 0."""
    varies = exact.std(axis=0) > 0
    return draws[:, varies], exact[:, varies]


def _remarks(study: Study, found: Numbers) -> list[str]:
    """Return sentences on the resimulation."""
    data = problem_of(study)
    if data.forward is None:
        return ["These data have no forward model: no Err_resim."]
    failed = found.of("not_finite")
    remarks = []
    if data.noise is not None:
        remarks = ["y has noise and f(x) has not, so Err_resim of exact draws is not 0."]
    elif not data.deterministic:
        remarks = ["The forward model is random, so Err_resim of exact draws is not 0."]
    if failed.any():
        remarks.append(
            f"The forward model gives no finite data for {failed.mean():.2%} of the draws, which "
            "are left out."
        )
    return remarks


def _judge_density(study: Study, metrics: dict[str, float]) -> str:
    app = require_posterior(study, "posterior")
    if not has_density(app):
        return f"p(x | y) has no closed form with {app.partition}: there is no NLTP."
    test = study.sets["test"].parts
    nats = -log_posterior(study, test["x"], widen(study, test["y"]))
    metrics["posterior/nltp"] = nats.mean()
    return (
        f"NLTP, the mean of -log p(x | y) at the true parameters over all {len(nats):,} items of "
        f"test: {nats.mean():.3f} nats, standard error {nats.std() / len(nats) ** 0.5:.3f}. "
        "Smaller is better; no reference is needed."
    )


def _judge_support(study: Study, drawn: Clouds, metrics: dict[str, float]) -> str:
    inside = [
        problem_of(study).support.contains(torch.from_numpy(x)).all(dim=1) for x in drawn.values()
    ]
    outside = 1 - torch.cat(inside).double().mean().item()
    metrics["posterior/outside"] = outside
    total = sum(len(x) for x in drawn.values())
    return f"{outside:.2%} of {total:,} draws lie outside the prior's support."


def _plot_draws(
    study: Study, draws: np.ndarray, exact: np.ndarray | None, truth: np.ndarray
) -> Figure:
    names, support = study.data.columns["x"], problem_of(study).support
    if len(names) > MOST_PAIRS:
        return plot_profile(draws, names, exact, truth)
    limits = torch.stack([support.low, support.high], dim=1).numpy()
    return plot_pairs(draws, names, exact, truth, limits)
