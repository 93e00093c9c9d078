"""Gradient ascent on log p in image space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from innflow.analysis.examples import choose_evenly, choose_examples
from innflow.analysis.findings import Findings, Plot, Table
from innflow.analysis.study import Analysis, Study, require_whole
from innflow.app.application import Unconditional
from innflow.errors import InnflowError
from innflow.figure.curves import plot_curves
from innflow.figure.image_rows import plot_image_rows
from innflow.figure.mosaic import signed_pixels
from innflow.figure.ood.coupling_maps import map_limit
from innflow.figure.style import CYCLE
from innflow.system.progress import track

DECAY = (0.9, 0.999)
LINEAR = 1000.0


class Climb(NamedTuple):
    """Trajectories of N images, each with its own objective.

    Attributes:
        images: (S + 1, N, C, H, W) images before each step and after the last, data units.
        terms: (S + 1, N, L) contribution of each scale to their log p, nats.
        stopped: number of images that stopped early, at a value or gradient that is not finite.
    """

    images: np.ndarray
    terms: np.ndarray
    stopped: int


@dataclass
class Ascent(Analysis):
    """Maximise log p, and the contribution of each scale alone, from a few images by Adam.

    Starts are an image of test, one of each of the first outlier sets, and weak noise on grey.
    After Schirrmeister et al. (arXiv:2006.10848): the patterns that appear are those to which a
    scale assigns a high likelihood.

        >>> Ascent(steps=10).lr
        1.0

    Attributes:
        steps: number of steps of Adam; pixels are clamped to the range of grey levels.
        lr: size of the first step in grey levels; it decreases linearly to 0.
        outliers: number of outlier sets to start from.
        shown: number of images of a trajectory.
    """

    steps: int = 50
    lr: float = 1.0
    outliers: int = 2
    shown: int = 6

    def check(self, study: Study) -> None:
        """Refuse data that are not images, and settings out of range."""
        require_whole("ascent.steps", self.steps, 1)
        require_whole("ascent.outliers", self.outliers, 0)
        require_whole("ascent.shown", self.shown, 2)
        if not self.lr > 0:
            raise InnflowError(f"analysis.ascent.lr={self.lr}: takes grey levels above 0")
        study.require_images("ascent")
        study.require(Unconditional, "ascent", "has no density of x alone: choose app=density")

    def __call__(self, study: Study) -> Findings:
        """Draw the trajectories; metrics are the gain in nats, mean over the starts."""
        self.check(study)
        starts, images = self._starts(study)
        steps = study.count(self.steps, 3)
        scales = study.measure("test").terms.shape[1]
        objectives = ["log p"]
        weights = [np.ones(scales)]
        if scales > 1:
            objectives += [f"scale {i + 1} alone" for i in range(scales)]
            weights += list(np.eye(scales))
        # All pairs of a start and an objective in one batch.
        climb = climb_all(
            study.density.measure_graph,
            torch.tensor(np.repeat(images, len(weights), axis=0)),
            torch.tensor(np.tile(weights, (len(images), 1))),
            steps,
            self.lr,
            study.data.levels - 1,
        )
        terms = climb.terms.reshape(-1, len(starts), len(objectives), scales)
        values = np.einsum("snol,ol->sno", terms, np.stack(weights))
        gains = values - values[:1]
        findings = Findings(
            "Gradient ascent on log p", self._text(starts, objectives, gains, climb)
        )
        for index, objective in enumerate(objectives):
            key = "log_prob" if index == 0 else objective.replace(" alone", "").replace(" ", "_")
            findings.metrics[f"ascent/{key}/gain"] = float(gains[-1, :, index].mean())
        findings.figures["images"] = self._plot(study, starts, objectives, climb, gains)
        hues = {**study.colors, "noise": CYCLE[3]}
        findings.figures["gain"] = Plot(
            plot_curves(
                {
                    objective: {start: gains[:, row, index] for row, start in enumerate(starts)}
                    for index, objective in enumerate(objectives)
                },
                np.arange(len(gains)),
                hues,
                ("step", "gain, nats"),
                linear=LINEAR,
            ),
            f"Gain of each objective against the step, one line a start; the axis is linear up to "
            f"{LINEAR:g} nats, logarithmic beyond.",
        )
        findings.tables.append(_table(starts, objectives, terms[-1] - terms[0]))
        return findings

    def _starts(self, study: Study) -> tuple[list[str], np.ndarray]:
        examples = choose_examples(study)
        names = examples.names[: 1 + self.outliers]
        images = examples.images[: len(names)].astype(np.float32)
        rng = np.random.default_rng(study.seed)
        # Weak noise: from uniform noise a few steps only reduce the noise.
        noise = study.data.levels * rng.normal(0.5, 1 / 16, images.shape[1:])
        noise = np.clip(np.rint(noise), 0, study.data.levels - 1).astype(np.float32)
        return [*names, "noise"], np.concatenate([images, noise[None]])

    def _text(
        self, starts: list[str], objectives: list[str], gains: np.ndarray, climb: Climb
    ) -> str:
        first = "; ".join(
            f"{start} {value:+,.0f}" for start, value in zip(starts, gains[-1, :, 0], strict=True)
        )
        text = (
            f"{len(climb.images) - 1} steps of Adam, from {self.lr:g} grey levels decreasing to 0, "
            "clamped to the range of grey levels. Gain in log p in nats (the images are no longer "
            f"whole grey levels): {first}."
        )
        if len(objectives) > 1:
            listed = "; ".join(
                f"{name} {value:+,.0f}"
                for name, value in zip(objectives[1:], gains[-1].mean(axis=0)[1:], strict=True)
            )
            text += (
                " Gain of the contribution of one scale where it alone is maximised, mean over the "
                f"starts: {listed}."
            )
        if climb.stopped:
            text += (
                f" {climb.stopped} of {climb.images.shape[1]} trajectories ended early, before a "
                "value or gradient that is not finite."
            )
        return text

    def _plot(
        self,
        study: Study,
        starts: list[str],
        objectives: list[str],
        climb: Climb,
        gains: np.ndarray,
    ) -> Plot:
        steps = choose_evenly(range(len(climb.images)), self.shown)
        change = climb.images[-1] - climb.images[0]
        limit = map_limit(change)
        rows, labels, notes = [], [], []
        for row, start in enumerate(starts):
            for index, objective in enumerate(objectives):
                place = row * len(objectives) + index
                images = study.picture(climb.images[steps, place])
                rows.append(np.concatenate([images, signed_pixels(change[[place]], limit)]))
                labels.append(f"{start}\n{objective}")
                gain = gains[steps[1:], row, index]
                notes.append(["", *(f"{value:+,.0f}" for value in gain)])
        figure = plot_image_rows(
            rows,
            labels,
            columns=["start", *(f"step {step}" for step in steps[1:]), "change"],
            notes=notes,
            block=len(objectives),
        )
        return Plot(
            figure,
            "Gradient ascent on the pixels from an image of test, of outlier sets, and from weak "
            "noise: on log p, and on the contribution of each scale alone (the last is the "
            "deepest). Below each image the gain of its row's objective in nats; on the right the "
            f"change from start to end, mid-grey 0, black and white {limit:.0f} grey levels.",
        )


def climb_all(
    measure: Callable[[Tensor], Tensor],
    starts: Tensor,
    weights: Tensor,
    steps: int,
    lr: float,
    top: float,
) -> Climb:
    """Maximise a weighted sum of terms from each image by Adam (arXiv:1412.6980).

    An image whose next value or gradient is not finite is not changed any more.

    Args:
        measure: returns terms (N, L) of images (N, C, H, W), with a gradient.
        starts: (N, C, H, W) floats.
        weights: (N, L) of the terms.
        steps: number of steps.
        lr: size of the first step, in units of the images; it decreases linearly to lr / steps.
        top: pixels are clamped from 0 to this.
    """
    x = starts.clone()
    mean, square = torch.zeros_like(x), torch.zeros_like(x)
    moving = torch.ones(len(x), dtype=torch.bool)
    path: list[tuple[Tensor, Tensor]] = []
    last: tuple[Tensor, Tensor] | None = None
    for step in track(range(steps + 1), "ascent"):
        x = x.detach().requires_grad_()
        terms = measure(x)
        objective = (terms * weights.to(terms)).sum()
        (gradient,) = torch.autograd.grad(objective, x)
        terms, gradient = terms.detach().cpu().double(), gradient.detach().cpu()
        here = x.detach()
        good = terms.isfinite().all(dim=1) & gradient.flatten(1).isfinite().all(dim=1)
        if last is None:
            if not bool(good.all()):
                raise InnflowError(
                    f"analysis ascent: log p or its gradient is not finite for "
                    f"{int((~good).sum())} of {len(good)} starts: leave it out with "
                    "analysis.ascent=null"
                )
        else:
            # A step to a value that is not finite is undone.
            moving &= good
            keep = moving[:, None, None, None]
            here = torch.where(keep, here, last[0])
            terms = torch.where(moving[:, None], terms, last[1])
        last = (here, terms)
        path.append(last)
        gradient = torch.where(moving[:, None, None, None], gradient, torch.zeros_like(gradient))
        mean = DECAY[0] * mean + (1 - DECAY[0]) * gradient
        square = DECAY[1] * square + (1 - DECAY[1]) * gradient.square()
        rate = lr * (1 - step / steps)
        fair = mean / (1 - DECAY[0] ** (step + 1))
        size = (square / (1 - DECAY[1] ** (step + 1))).sqrt() + 1e-12
        x = torch.where(moving[:, None, None, None], here + rate * fair / size, here).clamp(0, top)
    images, path_terms = zip(*path, strict=True)
    return Climb(torch.stack(images).numpy(), torch.stack(path_terms).numpy(), int((~moving).sum()))


def _table(starts: list[str], objectives: list[str], change: np.ndarray) -> Table:
    """Tabulate the gain of every scale, (starts, objectives, L), for each objective."""
    rows = [
        [
            start,
            objective,
            f"{change[row, index].sum():+,.1f}",
            *([f"{value:+,.1f}" for value in change[row, index]] if len(objectives) > 1 else []),
        ]
        for row, start in enumerate(starts)
        for index, objective in enumerate(objectives)
    ]
    scales = [f"scale {i + 1}" for i in range(change.shape[2])] if len(objectives) > 1 else []
    return Table("Gain from start to end, nats", ["start", "objective", "log p", *scales], rows)
