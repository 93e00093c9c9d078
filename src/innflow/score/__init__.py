"""Anomaly scores over per-item arrays."""

from innflow.score.base import Measured, Score
from innflow.score.conformal import leave_one_out_p_values, p_values
from innflow.score.latent import LatentDistance
from innflow.score.likelihood import BitsPerDim, Likelihood
from innflow.score.scorer import Scorer
from innflow.score.typicality import Typicality

__all__ = [
    "BitsPerDim",
    "LatentDistance",
    "Likelihood",
    "Measured",
    "Score",
    "Scorer",
    "Typicality",
    "leave_one_out_p_values",
    "p_values",
]
