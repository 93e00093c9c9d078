"""Criteria and summaries of the claims: functions of the numbers of all seeds.

What each criterion says in words is in `claims.py`. Every criterion was written before the runs of
this study; README.md states what was known by then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from experiments.claims.measure import RELATIVE_PNG, Numbers

HOLDS, PART, FAILS = "holds", "holds in part", "does not hold"
SMOOTHER = 0.9
"""Outliers are smoother where their PNG files are, on average, shorter than this share of the
inliers' files."""


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
