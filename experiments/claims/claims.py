"""The twelve claims as data: sentence, criterion, runs, measured numbers.

Every criterion was written before the runs of this study. Earlier pages of experiments/ had already
shown numbers of one seed for some of the claims, as README.md says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.claims import measure
from experiments.claims.measure import RELATIVE_PNG, Folders, Found, Numbers
from experiments.claims.runs import CLASSES, Run, needed

HOLDS, PART, FAILS = "holds", "holds in part", "does not hold"
SMOOTHER = 0.9
"""Outliers are smoother where their PNG files are, on average, shorter than this share of the
inliers' files."""


@dataclass(frozen=True)
class Claim:
    """A claim of the literature.

    Attributes:
        number: From 1.
        name: For titles.
        sentence: What is claimed.
        source: Of the claim.
        criterion: When it holds, and when it holds in part.
        runs: Names of the runs that are read.
        read: Numbers of one seed from the folders of these runs.
        sides: Sides that are compared, in the order of the page.
        summary: Numbers of one seed -> those of the first table.
        judge: Numbers of all seeds -> verdict.
        unit: Of the numbers in the figure.
    """

    number: int
    name: str
    sentence: str
    source: str
    criterion: str
    runs: tuple[str, ...]
    read: Callable[[Folders], Found]
    sides: tuple[str, ...]
    summary: Callable[[Numbers], Numbers]
    judge: Callable[[Sequence[Numbers]], str]
    unit: str = "AUROC"

    @property
    def all_runs(self) -> list[Run]:
        """The runs that are read, and those that these need."""
        return needed(self.runs)


def values(found: Sequence[Numbers], panel: str, side: str) -> np.ndarray:
    """Return the number of each seed, (K,); NaN where it is undefined."""
    return np.array([numbers[panel].get(side) for numbers in found], dtype=np.float64)


def verdict(holds: bool, part: bool) -> str:
    """Return the verdict of a criterion."""
    return HOLDS if holds else PART if part else FAILS


def over_panels(
    side: str, keep: Callable[[dict[str, float | None]], bool], numbers: Numbers
) -> float | None:
    """Return the mean of a side over the panels that are kept; None where there are none."""
    kept = [
        sides[side] for sides in numbers.values() if keep(sides) and sides.get(side) is not None
    ]
    return float(np.mean(np.array(kept, dtype=np.float64))) if kept else None


def is_smoother(sides: dict[str, float | None]) -> bool:
    """Return whether the outliers of a panel are smoother than the inliers."""
    return (sides[RELATIVE_PNG] or 1.0) < SMOOTHER


def is_other(sides: dict[str, float | None]) -> bool:
    """Return whether they are not."""
    return not is_smoother(sides)


def by_smoothness(*sides: str) -> Callable[[Numbers], Numbers]:
    """Return a summary: the means of sides over smoother outliers and over the others."""
    groups = {"smoother outliers": is_smoother, "other outliers": is_other}
    return lambda numbers: {
        group: {side: over_panels(side, keep, numbers) for side in sides}
        for group, keep in groups.items()
    }


def unchanged(numbers: Numbers) -> Numbers:
    """Return all numbers, as a summary."""
    return numbers


def mean_of_panels(*sides: str) -> Callable[[Numbers], Numbers]:
    """Return a summary: the means of sides over all panels."""
    return lambda numbers: {
        "mean": {side: over_panels(side, lambda _: True, numbers) for side in sides}
    }


def panel_means(found: Sequence[Numbers], side: str, smoother: bool | None = None) -> np.ndarray:
    """Return the mean over the seeds of a side, for every panel or those of one smoothness.

    Smoothness is that of the first seed: seeds differ in which test images are measured only.
    """
    panels = [
        panel
        for panel, sides in found[0].items()
        if smoother is None or is_smoother(sides) == smoother
    ]
    return np.array([values(found, panel, side).mean() for panel in panels])


def judge_smooth(found: Sequence[Numbers]) -> str:
    """Claim 1."""
    raw = panel_means(found, "likelihood", smoother=True)
    return verdict(len(raw) > 0 and bool((raw < 0.5).all()), bool((raw < 0.5).any()))


def judge_ratio(found: Sequence[Numbers]) -> str:
    """Claim 2."""
    raw, ratio = (panel_means(found, side) for side in ("likelihood", "ratio"))
    low = raw < 0.5
    good, better = ratio[low] > 0.9, ratio[low] > np.maximum(raw[low], 0.5)
    return verdict(bool(low.any() and good.all()), bool(better.any()))


def judge_last_scale(found: Sequence[Numbers]) -> str:
    """Claim 3."""
    raw, last = (panel_means(found, side) for side in ("likelihood", "last_scale"))
    better = last > raw
    return verdict(bool((better & (last > 0.5)).all()), bool(better.mean() > 0.5))


def judge_loss(found: Sequence[Numbers]) -> str:
    """Claim 4."""
    gains = [
        values(found, panel, "with loss") - values(found, panel, "without loss")
        for panel in found[0]
    ]
    clear = [bool((gain > 0).all() and gain.mean() >= 0.01) for gain in gains]
    return verdict(all(clear), any(clear))


def judge_tuning(found: Sequence[Numbers]) -> str:
    """Claim 5."""
    share = values(found, "share of the steps", "fine-tuned")
    return verdict(bool((share < 0.5).all()), bool((share < 0.5).any()))


def judge_compressors(found: Sequence[Numbers]) -> str:
    """Claim 6."""
    helped, hurt = [], []
    raw_smooth, raw_other = (panel_means(found, "likelihood", each) for each in (True, False))
    for codec in ("png", "webp"):
        smooth, other = (panel_means(found, codec, each) for each in (True, False))
        helped.append(bool(((smooth > raw_smooth) & (smooth > 0.5)).all()))
        hurt.append(bool((other < raw_other).all()))
    return verdict(all(helped) and all(hurt), any(helped) or any(hurt))


def judge_pair(better: str, worse: str) -> Callable[[Sequence[Numbers]], str]:
    """Claims 7 and 8: one model is above another, which is below chance."""

    def judge(found: Sequence[Numbers]) -> str:
        (panel,) = found[0]
        low, high = (values(found, panel, side) for side in (worse, better))
        gain = high - low
        return verdict(bool((low < 0.5).all() and (gain > 0.1).all()), bool((gain > 0).all()))

    return judge


def judge_features(found: Sequence[Numbers]) -> str:
    """Claim 9."""
    sides = ("pixels, likelihood", "features, flow", "features, one Gaussian")
    pixels, flow, one = (panel_means(found, side) for side in sides)
    better = bool((flow > pixels).all() and flow.mean() - pixels.mean() > 0.05)
    alike = bool(abs(flow.mean() - one.mean()) < 0.01)
    return verdict(better and alike, better or alike)


def judge_phases(found: Sequence[Numbers]) -> str:
    """Claim 10."""
    amplitude, phase = (panel_means(found, side) for side in ("amplitude", "phase"))
    return verdict(
        bool((amplitude > 0.8).all() and (abs(phase) < 0.2).all()),
        bool((amplitude - phase > 0.3).all()),
    )


def judge_arm(found: Sequence[Numbers]) -> str:
    """Claim 11."""
    near = values(found, "MMD² / prior's", "MMD") < 0.1
    sbc, tarp = (values(found, f"{test}, p", "MMD") >= 0.01 for test in ("SBC", "TARP"))
    told = values(found, "C2ST", "MMD") > 0.9
    return verdict(bool((near & sbc & tarp & told).all()), bool((told & (near | sbc | tarp)).all()))


def judge_noise(found: Sequence[Numbers]) -> str:
    """Claim 12."""
    own, ignored = (values(found, "C2ST", way) for way in ("noise as input", "noise ignored"))
    floor = values(found, "C2ST", "floor")
    same, other = own < floor + 0.03, ignored > 0.6
    return verdict(bool((same & other).all()), bool(same.all() or other.all()))


CLAIMS: Sequence[Claim] = (
    Claim(
        1,
        "smoother outliers",
        "Raw likelihood ranks smoother images of another kind as more normal than the inliers.",
        "Nalisnick et al. 2019 (arXiv:1810.09136); Serrà et al. 2020 (arXiv:1909.11480)",
        "Outliers are smoother where their PNG files are shorter than 0.9 of the inliers' on "
        "average. Holds: the AUROC, mean over the seeds, is below 0.5 against every smoother set. "
        "In part: against at least one.",
        ("cats_scratch", "cifar10"),
        measure.smooth_outliers,
        ("likelihood",),
        by_smoothness("likelihood"),
        judge_smooth,
    ),
    Claim(
        2,
        "ratio to a general model",
        "The likelihood ratio to a model of general images mends it.",
        "Schirrmeister et al. 2020 (arXiv:2006.10848)",
        "Holds: against every set where the raw likelihood of the same model has an AUROC below "
        "0.5, the ratio is above 0.9. In part: above 0.5 and above the likelihood for one or more.",
        ("cats", "cifar10"),
        measure.scores,
        ("likelihood", "ratio"),
        by_smoothness("likelihood", "ratio"),
        judge_ratio,
    ),
    Claim(
        3,
        "last scale",
        "The contribution of the last scale detects better than the whole likelihood.",
        "Schirrmeister et al. 2020 (arXiv:2006.10848)",
        "Holds: its AUROC is above that of the likelihood and above 0.5 against every set. In "
        "part: above that of the likelihood against more than half of the sets.",
        ("cats", "cifar10", *CLASSES),
        measure.scores,
        ("likelihood", "last_scale"),
        by_smoothness("likelihood", "last_scale"),
        judge_last_scale,
    ),
    Claim(
        4,
        "outlier loss",
        "An outlier loss on general images improves the ratio.",
        "Schirrmeister et al. 2020 (arXiv:2006.10848); Hendrycks et al. 2019 (arXiv:1812.04606)",
        "One class of CIFAR10 against the nine others, after equally many steps. Holds: for both "
        "classes the mean AUROC with the loss is higher in every seed and by at least 0.01 on "
        "average. In part: for one class.",
        tuple(name for kind in CLASSES for name in (kind, f"{kind}_outlier_loss")),
        measure.outlier_loss,
        ("without loss", "with loss"),
        unchanged,
        judge_loss,
    ),
    Claim(
        5,
        "fine-tuning",
        "Fine-tuned from a general model, a flow reaches the same validation bits per dim in under "
        "half of the steps.",
        "Schirrmeister et al. 2020 (arXiv:2006.10848)",
        "Both runs have equally many steps, and the same schedule. Holds: in every seed the first "
        "validation of the fine-tuned run at or below the best one from scratch comes before half "
        "of the steps. In part: in at least one seed. The steps of the general model do not count.",
        ("cats_scratch", "cats"),
        measure.fine_tuning,
        ("from scratch", "fine-tuned"),
        unchanged,
        judge_tuning,
        "bits per dim",
    ),
    Claim(
        6,
        "compressors",
        "Relative to the length under a compressor, the likelihood detects smoother outliers, and "
        "detects the others less well.",
        "Serrà et al. 2020 (arXiv:1909.11480)",
        "Helps: against every smoother set (as in claim 1) the corrected AUROC is above the raw "
        "one and above 0.5. Hurts: against every other set it is below the raw one. Holds: both, "
        "for PNG and for WebP. In part: one of these four.",
        ("cats", "cifar10", *CLASSES),
        measure.scores,
        ("likelihood", "png", "webp"),
        by_smoothness("likelihood", "png", "webp"),
        judge_compressors,
    ),
    Claim(
        7,
        "dense flow",
        "Trained on clothes, a dense Glow detects digits better than a convolutional one, which "
        "ranks them as more normal.",
        "Schirrmeister et al. 2020 (arXiv:2006.10848)",
        "Holds: in every seed the convolutional flow is below 0.5 and the dense one higher by more "
        "than 0.1. In part: the dense one is higher in every seed.",
        ("clothes_glow", "clothes_dense"),
        measure.clothes,
        ("glow", "dense"),
        unchanged,
        judge_pair("dense", "glow"),
    ),
    Claim(
        8,
        "masks",
        "Cycle masks with a bottleneck detect digits better than checkerboard masks, which rank "
        "them as more normal than clothes.",
        "Kirichenko et al. 2020 (arXiv:2006.08545)",
        "Holds: in every seed checkerboard masks (without bottleneck) are below 0.5, and cycle "
        "masks with a bottleneck of 10 higher by more than 0.1. In part: higher in every seed.",
        ("clothes_checkerboard", "clothes_checkerboard_bottleneck", "clothes_cycle_bottleneck"),
        measure.clothes,
        ("checkerboard", "checkerboard, bottleneck", "cycle, bottleneck"),
        unchanged,
        judge_pair("cycle, bottleneck", "checkerboard"),
    ),
    Claim(
        9,
        "features",
        "A flow on features of a pretrained network beats one on pixels, and one Gaussian on these "
        "features is as good.",
        "Kirichenko et al. 2020 (arXiv:2006.08545); Lee et al. 2018 (arXiv:1807.03888)",
        "Holds: the flow on features is above the likelihood of pixels against every set, by more "
        "than 0.05 on average, and one Gaussian is within 0.01 of it on average. In part: one of "
        "the two.",
        ("cats_scratch", "cats_features"),
        measure.features,
        (
            *("pixels, likelihood", "features, flow", "features, one Gaussian"),
            "features, 5 neighbours",
        ),
        mean_of_panels("pixels, likelihood", "features, flow", "features, one Gaussian"),
        judge_features,
    ),
    Claim(
        10,
        "amplitude and phase",
        "The amplitudes of an image's Fourier spectrum decide its likelihood, the phases do not.",
        "Schirrmeister et al. 2020 (arXiv:2006.10848)",
        "Images with the amplitudes of one test image and the phases of another. Holds: their log "
        "p correlates with that of the amplitudes' donor by more than 0.8 and with that of the "
        "phases' donor by less than 0.2 in size, for both data sets. In part: the first is larger "
        "by more than 0.3 for both.",
        ("cats_scratch", "cifar10"),
        measure.phases,
        ("amplitude", "phase"),
        unchanged,
        judge_phases,
        "correlation",
    ),
    Claim(
        11,
        "MMD",
        "A flow trained by MMD looks right by MMD, SBC and TARP, and fails C2ST.",
        "Ardizzone et al. 2019 (arXiv:1808.04730); Kruse et al. 2021 (arXiv:2101.10763)",
        "Looks right: MMD² to the exact posterior below a tenth of the prior's, p of SBC and TARP "
        "at least 0.01. Holds: in every seed all three, and C2ST above 0.9. In part: in every seed "
        "C2ST above 0.9 and one of the three.",
        ("arm_mmd", "arm_likelihood"),
        measure.arm_training,
        ("MMD", "likelihood", "floor"),
        unchanged,
        judge_arm,
        "value",
    ),
    Claim(
        12,
        "noise as input",
        "With the noise as an input of the flow the posterior is exact, where a flow that ignores "
        "the noise is wrong.",
        "Zhang and Curtis 2021 (doi:10.1029/2021JB022320)",
        "Holds: in every seed C2ST to the exact posterior is less than 0.03 above its floor with "
        "the noise as input, and above 0.6 with the noise ignored. In part: one of the two.",
        ("traveltime_noise", "traveltime_ignored", "traveltime_context"),
        measure.noise_input,
        ("noise as input", "noise ignored", "y as context", "floor"),
        unchanged,
        judge_noise,
        "value",
    ),
)
BY_NUMBER = {claim.number: claim for claim in CLAIMS}
