"""Posterior draws at single observations: against the exact posterior, and sent forward again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure

from innflow.analysis.findings import Findings, Plot
from innflow.analysis.posterior.draws import (
    draw_posterior,
    has_density,
    is_stochastic,
    log_posterior,
    resimulate,
    widen,
)
from innflow.analysis.posterior.references import References, load_references, try_reference
from innflow.analysis.posterior.wording import (
    Numbers,
    judge_c2st,
    judge_err_post,
    judge_moments,
    judge_resimulation,
)
from innflow.analysis.study import Study, require_whole
from innflow.errors import InnflowError
from innflow.figure.posterior.pairs import MOST_PAIRS, plot_pairs
from innflow.figure.posterior.profile import plot_profile, plot_resimulation
from innflow.metric import compute_c2st, compute_err_post, compute_moments, compute_resimulation
from innflow.system.progress import track

# Draws of each observation that go through the forward model, which may be slow.
RESIMULATED = 400
# Observations at which two sets of reference draws are told apart, for the floor of C2ST.
FLOORS = 2
# Processes for the five folds of the classifier, which takes most of the time.
JOBS = min(5, os.cpu_count() or 1)
# Streams of random numbers.
DRAWS, EXACT, EXACT_AGAIN, MANY, MANY_EXACT = range(10, 15)

Clouds = Mapping[int, np.ndarray]
"""Position in test -> draws (n, P)."""


@dataclass
class Posterior:
    """Looks at the first observations of test, on which nothing is trained or chosen.

    Attributes:
        observations: how many are compared by C2ST and by moments.
        draws: of each, from the posterior and from the reference.
        err_observations: how many Err_post and Err_resim are taken over.
        err_draws: of each, for Err_post.
        moment_draws: of each, for the moments; 0 takes `draws`. More make the Monte-Carlo error
            smaller, where the reference is as quick as that of linear problems.
        standardise: take Err_post in standard deviations of the prior, not in raw units.
        shown: observations that are drawn.
    """

    observations: int = 10
    draws: int = 4000
    err_observations: int = 25
    err_draws: int = 2000
    moment_draws: int = 0
    standardise: bool = False
    shown: int = 2

    def check(self, study: Study) -> None:
        """Refuse an application without posterior, bad settings and a reference that fails."""
        study.require_posterior("posterior")
        least = {"observations": 1, "draws": 10, "err_observations": 1, "err_draws": 2}
        for name, number in {**least, "moment_draws": 0, "shown": 0}.items():
            require_whole(f"posterior.{name}", getattr(self, name), number)
        try_reference(study)

    def __call__(self, study: Study) -> Findings:
        """Compare, resimulate and draw; every metric begins with `posterior/`."""
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
            f"The first {len(counts)} observations of test, not used to train or to choose; "
            f"{self.draws:,} draws at each of the first {compared}."
        ]
        if references.draws:
            self._compare_clouds(study, drawn, references, found)
            self._compare_moments(study, drawn, references, found)
            unit = "standard deviations of the prior" if self.standardise else "raw units"
            notes += [
                judge_c2st(found, metrics),
                judge_err_post(found, metrics, self.err_draws, unit),
                judge_moments(found, metrics, self.moment_draws or self.draws),
            ]
        elif not references.failed:
            notes.append("There is no reference posterior for these data to compare with.")
        notes.append(references.note())
        resimulated = self._resimulate(study, drawn, references, found)
        notes += [
            judge_resimulation(found, metrics, RESIMULATED, _remarks(study)),
            _judge_density(study, metrics),
            _judge_support(study, drawn, metrics),
        ]
        names = {i: str(study.sets["test"].names[i]) for i in range(compared)}
        return Findings(
            "Posterior",
            "\n\n".join(note for note in notes if note),
            metrics,
            self._figures(study, drawn, references, resimulated),
            [found.table(names)],
        )

    def _counts(self, available: int) -> dict[int, int]:
        """Return the number of draws at each position of test."""
        rows = {i: self.draws for i in range(min(self.observations, available))}
        for i in range(min(self.err_observations, available)):
            rows[i] = max(self.err_draws, rows.get(i, 0))
        return rows

    def _compare_clouds(
        self, study: Study, drawn: Clouds, references: References, found: Numbers
    ) -> None:
        """Find Err_post and C2ST, and those of a second set of reference draws."""
        known = references.draws
        judged = [i for i in known if i < self.err_observations]
        compared = [i for i in known if i < self.observations]
        again = dict.fromkeys(judged, self.err_draws)
        again |= {i: max(self.draws, self.err_draws) for i in compared[:FLOORS]}
        second = load_references(study, again, EXACT_AGAIN).draws
        unit = study.sets["train"].parts["x"].std(dim=0).numpy() if self.standardise else 1.0
        for i in track(judged, "Err_post"):
            for key, cloud in (("err_post", drawn.get(i)), ("err_post_floor", second.get(i))):
                if cloud is not None:
                    pair = cloud[: self.err_draws] / unit, known[i][: self.err_draws] / unit
                    found.add(key, i, compute_err_post(*pair))
        for i in track(compared, "C2ST"):
            exact = known[i][: self.draws]
            other = second.get(i) if i in compared[:FLOORS] else None
            for key, cloud in (("c2st", drawn.get(i)), ("c2st_floor", other)):
                if cloud is not None:
                    pair = _varying(cloud[: self.draws], exact)
                    found.add(key, i, compute_c2st(*pair, study.seed, jobs=JOBS))

    def _compare_moments(
        self, study: Study, drawn: Clouds, references: References, found: Numbers
    ) -> None:
        """Find the errors of means and covariances, and what exact draws would give."""
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
            # The reference is as many draws, which err as much again.
            found.add("mean_error_floor", i, 2**0.5 * moments.mean_floor)
            found.add("covariance_error_floor", i, 2**0.5 * moments.covariance_floor)

    def _resimulate(
        self, study: Study, drawn: Clouds, references: References, found: Numbers
    ) -> dict[int, np.ndarray]:
        """Return the data that draws lead to, (n, M) at each position, and find Err_resim."""
        resimulated = {}
        if not _has_forward(study):
            return {}
        for key, clouds in (("err_resim", drawn), ("err_resim_reference", references.draws)):
            rows = {i: x[:RESIMULATED] for i, x in clouds.items() if i < self.err_observations}
            for i, data in resimulate(study, rows).items():
                finite = np.isfinite(data).all(axis=1)
                if key == "err_resim":
                    found.add("not_finite", i, float(1 - finite.mean()))
                    resimulated[i] = data[finite]
                if finite.any():
                    y = study.sets["test"].parts["y"][i].numpy()
                    found.add(key, i, compute_resimulation(data[finite], y))
        return resimulated

    def _figures(
        self, study: Study, drawn: Clouds, references: References, resimulated: Clouds
    ) -> dict[str, Plot]:
        figures = {}
        test = study.sets["test"]
        noise = getattr(study.data, "noise", None)
        sd = None if noise is None else noise.square().sum(dim=1).sqrt().numpy()
        for i in list(drawn)[: self.shown]:
            exact = references.draws.get(i)
            reference = "" if exact is None else " Lines are those of the reference."
            figures[f"observation_{i}"] = Plot(
                _plot_draws(study, drawn[i], exact, test.parts["x"][i].numpy()),
                f"{test.names[i]}: {len(drawn[i]):,} draws of the posterior with the true "
                f"parameters.{reference}",
            )
            if len(resimulated.get(i, ())):
                y = test.parts["y"][i].numpy()
                figures[f"resimulation_{i}"] = Plot(
                    plot_resimulation(study.data.columns["y"], y, resimulated[i], sd),
                    f"{test.names[i]}: what the forward model makes of {len(resimulated[i]):,} "
                    "draws, against the observation.",
                )
        return figures


def _varying(draws: np.ndarray, exact: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Leave out a whole number that is certain: it has no standard deviation to divide by."""
    varies = exact.std(axis=0) > 0
    return draws[:, varies], exact[:, varies]


def _has_forward(study: Study) -> bool:
    return getattr(study.data, "forward", None) is not None


def _remarks(study: Study) -> list[str]:
    if not _has_forward(study):
        return ["There is no forward model for these data: no Err_resim."]
    if getattr(study.data, "noise", None) is not None:
        return ["f(x) is without noise and y has it: exact draws do not give 0."]
    if is_stochastic(study):
        return ["The forward model is random itself: exact draws do not give 0."]
    return []


def _judge_density(study: Study, metrics: dict[str, float]) -> str:
    app = study.require_posterior("posterior")
    if not has_density(app):
        return f"p(x | y) has no closed form with {app.partition}: there is no NLTP."
    test = study.sets["test"].parts
    nats = -log_posterior(study, test["x"], widen(study, test["y"]))
    metrics["posterior/nltp"] = nats.mean()
    return (
        f"NLTP, the mean of -log p(x | y) of the true parameters over all {len(nats):,} items of "
        f"test: {nats.mean():.3f} nats, standard error {nats.std() / len(nats) ** 0.5:.3f}. It "
        "ranks posteriors without any reference; smaller is better."
    )


def _judge_support(study: Study, drawn: Clouds, metrics: dict[str, float]) -> str:
    inside = [study.data.support.contains(torch.from_numpy(x)).all(dim=1) for x in drawn.values()]
    outside = 1 - torch.cat(inside).double().mean().item()
    metrics["posterior/outside"] = outside
    total = sum(len(x) for x in drawn.values())
    return f"{outside:.2%} of {total:,} draws lie outside the prior's support."


def _plot_draws(
    study: Study, draws: np.ndarray, exact: np.ndarray | None, truth: np.ndarray
) -> Figure:
    names, support = study.data.columns["x"], study.data.support
    if len(names) > MOST_PAIRS:
        return plot_profile(draws, names, exact, truth, "value")
    limits = torch.stack([support.low, support.high], dim=1).numpy()
    return plot_pairs(draws, names, exact, truth, limits)
