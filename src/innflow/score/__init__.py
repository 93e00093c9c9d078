"""Anomaly scores over per-item arrays."""

from innflow.score.base import Likelihoods, Measured, Score
from innflow.score.batch import (
    Power,
    batch_p_value,
    batch_power,
    typicality_p_value,
    typicality_power,
)
from innflow.score.combined import Combined
from innflow.score.complexity import Complexity, code_lengths
from innflow.score.conformal import leave_one_out_p_values, p_values
from innflow.score.fixed import Fixed
from innflow.score.latent import LatentDistance
from innflow.score.likelihood import BitsPerDim, Likelihood
from innflow.score.mahalanobis import Mahalanobis
from innflow.score.nearest_class import NearestClass
from innflow.score.neighbours import NearestNeighbours
from innflow.score.ratio import Ratio
from innflow.score.scale import LatentNorm, LogDet, Scale
from innflow.score.scorer import Composite, Scorer
from innflow.score.typicality import Typicality
from innflow.score.waic import Waic

__all__ = [
    "BitsPerDim",
    "Combined",
    "Complexity",
    "Composite",
    "Fixed",
    "LatentDistance",
    "LatentNorm",
    "Likelihood",
    "Likelihoods",
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
    "leave_one_out_p_values",
    "p_values",
    "typicality_p_value",
    "typicality_power",
]
