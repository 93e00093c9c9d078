"""Analyses of a trained application."""

from innflow.analysis.attributes import Attributes
from innflow.analysis.base import Analysis, Findings, Plot, Study, Table
from innflow.analysis.density2d import Density2d
from innflow.analysis.exact import Exact
from innflow.analysis.interpolation import Interpolation
from innflow.analysis.latent_cloud import LatentCloud
from innflow.analysis.likelihood import Likelihood
from innflow.analysis.roundtrip import RoundTrip
from innflow.analysis.samples import Samples
from innflow.analysis.scores import Scores
from innflow.analysis.temperature import Temperature
from innflow.analysis.training import Training

__all__ = [
    "Analysis",
    "Attributes",
    "Density2d",
    "Exact",
    "Findings",
    "Interpolation",
    "LatentCloud",
    "Likelihood",
    "Plot",
    "RoundTrip",
    "Samples",
    "Scores",
    "Study",
    "Table",
    "Temperature",
    "Training",
]
