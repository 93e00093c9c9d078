"""Gradient ascent on log p in image space."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

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

    Starts are a test image, one of each of the first outlier sets, and weak noise on grey.
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
        pixels = torch.tensor(np.repeat(images, len(weights), axis=0))
        each = torch.tensor(np.tile(weights, (len(images), 1)))
        measure, top = study.density.measure_graph, study.data.levels - 1
        climb = climb_all(measure, pixels, each, steps, self.lr, top)
        terms = climb.terms.reshape(-1, len(starts), len(objectives), scales)
        values = np.einsum("snol,ol->sno", terms, np.stack(weights))
        gains = values - values[:1]
        text = self._text(starts, objectives, gains, climb)
        findings = Findings("Gradient ascent on log p", text)
        keys = ["log_prob", *(f"scale_{i + 1}" for i in range(len(objectives) - 1))]
        for index, key in enumerate(keys):
            findings.metrics[f"ascent/{key}/gain"] = float(gains[-1, :, index].mean())
        findings.figures["images"] = self._plot(study, starts, objectives, climb, gains)
        hues = {**study.colors, "noise": CYCLE[3]}
        panels = {
            objective: dict(zip(starts, gains[:, :, index].T, strict=True))
            for index, objective in enumerate(objectives)
        }
        axes = "step", "gain, nats"
        findings.figures["gain"] = Plot(
            plot_curves(panels, np.arange(len(gains)), hues, axes, linear=LINEAR),
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
        final = zip(starts, gains[-1, :, 0], strict=True)
        first = "; ".join(f"{start} {value:+,.0f}" for start, value in final)
        text = (
            f"{len(climb.images) - 1} steps of Adam, from {self.lr:g} grey levels decreasing to 0, "
            "clamped to the range of grey levels. Gain in log p in nats (the images are no longer "
            f"whole grey levels): {first}."
        )
        if len(objectives) > 1:
            means = zip(objectives[1:], gains[-1].mean(axis=0)[1:], strict=True)
            listed = "; ".join(f"{name} {value:+,.0f}" for name, value in means)
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
        columns = ["start", *(f"step {step}" for step in steps[1:]), "change"]
        figure = plot_image_rows(rows, labels, columns, notes, block=len(objectives))
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
    x = starts.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr, eps=1e-12, maximize=True)
    schedule = LambdaLR(optimizer, lambda step: 1 - step / steps)
    moving = torch.ones(len(x), dtype=torch.bool)
    images: list[Tensor] = []
    values: list[Tensor] = []
    for step in track(range(steps + 1), "ascent"):
        terms = measure(x)
        (gradient,) = torch.autograd.grad((terms * weights.to(terms)).sum(), x)
        here, terms = x.detach().clone(), terms.detach().cpu().double()
        good = terms.isfinite().all(dim=1) & gradient.flatten(1).isfinite().all(dim=1)
        if step == 0 and not bool(good.all()):
            raise InnflowError(
                f"analysis ascent: log p or its gradient is not finite for {int((~good).sum())} of "
                f"{len(good)} starts: leave it out with analysis.ascent=null"
            )
        moving &= good
        keep = moving[:, None, None, None]
        if step:
            # A step to a value that is not finite is undone.
            here = torch.where(keep, here, images[-1])
            terms = torch.where(moving[:, None], terms, values[-1])
        images.append(here)
        values.append(terms)
        x.grad = torch.where(keep, gradient, torch.zeros_like(gradient))
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            x.copy_(torch.where(keep, x.clamp(0, top), here))
    return Climb(torch.stack(images).numpy(), torch.stack(values).numpy(), int((~moving).sum()))


def _table(starts: list[str], objectives: list[str], change: np.ndarray) -> Table:
    """Tabulate the gain of every scale, (starts, objectives, L), for each objective."""
    scales = [f"scale {i + 1}" for i in range(change.shape[2])] if len(objectives) > 1 else []
    rows = []
    for row, start in enumerate(starts):
        for index, objective in enumerate(objectives):
            gains = [change[row, index].sum(), *change[row, index, : len(scales)]]
            rows.append([start, objective, *(f"{gain:+,.1f}" for gain in gains)])
    return Table("Gain from start to end, nats", ["start", "objective", "log p", *scales], rows)
