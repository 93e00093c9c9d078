"""Anomaly scores of items, conformal p-values, and tests of batches."""

from innflow.score.base import CompositeScore, Measured, Score
from innflow.score.batch import (
    Power,
    batch_p_value,
    batch_power,
    typicality_p_value,
    typicality_power,
)
from innflow.score.combined import Combined
from innflow.score.complexity import Complexity, code_lengths
from innflow.score.conformal import (
    cross_conformal_p_values,
    find_threshold,
    leave_one_out_p_values,
    p_values,
)
from innflow.score.distance import Mahalanobis, NearestNeighbours
from innflow.score.features import FeatureRatio
from innflow.score.likelihood import BitsPerDim, Likelihood, NearestClass
from innflow.score.ratio import Ratio
from innflow.score.scale import LatentDistance, LatentNorm, LogDet, Scale
from innflow.score.scorer import Scorer
from innflow.score.typicality import Typicality
from innflow.score.waic import Waic

__all__ = [
    "BitsPerDim",
    "Combined",
    "Complexity",
    "CompositeScore",
    "FeatureRatio",
    "LatentDistance",
    "LatentNorm",
    "Likelihood",
    "LogDet",
    "Mahalanobis",
    "Measured",
    "NearestClass",
    "NearestNeighbours",
    "Power",
    "Ratio",
    "Scale",
    "Score",
    "Scorer",
    "Typicality",
    "Waic",
    "batch_p_value",
    "batch_power",
    "code_lengths",
    "cross_conformal_p_values",
    "find_threshold",
    "leave_one_out_p_values",
    "p_values",
    "typicality_p_value",
    "typicality_power",
]
