"""Objectives: weighted sums of named loss terms."""

from innflow.objective.base import Objective, Step, Term, nll
from innflow.objective.classification import CrossEntropy, information_bottleneck
from innflow.objective.inverse import Fit, InputMMD, LatentMMD, bidirectional
from innflow.objective.outlier import (
    CompanionRatioLoss,
    Margin,
    Negative,
    OtherClasses,
    Outlier,
    margin,
    negative,
    outlier_exposure,
)

__all__ = [
    "CompanionRatioLoss",
    "CrossEntropy",
    "Fit",
    "InputMMD",
    "LatentMMD",
    "Margin",
    "Negative",
    "Objective",
    "OtherClasses",
    "Outlier",
    "Step",
    "Term",
    "bidirectional",
    "information_bottleneck",
    "margin",
    "negative",
    "nll",
    "outlier_exposure",
]
