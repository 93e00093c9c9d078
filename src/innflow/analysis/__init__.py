"""Analyses of a trained application."""

from innflow.analysis.attributes import Attributes
from innflow.analysis.base import Analysis, Findings, Plot, Study, Table
from innflow.analysis.classification import Classification
from innflow.analysis.counterfactual import Counterfactual
from innflow.analysis.coverage import Coverage
from innflow.analysis.density2d import Density2d
from innflow.analysis.exact import Exact
from innflow.analysis.interpolation import Interpolation
from innflow.analysis.latent_cloud import LatentCloud
from innflow.analysis.likelihood import Likelihood
from innflow.analysis.modes import Modes
from innflow.analysis.posterior import Posterior
from innflow.analysis.recovery import Recovery
from innflow.analysis.roundtrip import RoundTrip
from innflow.analysis.samples import Samples
from innflow.analysis.scores import Scores
from innflow.analysis.temperature import Temperature
from innflow.analysis.training import Training

__all__ = [
    "Analysis",
    "Attributes",
    "Classification",
    "Counterfactual",
    "Coverage",
    "Density2d",
    "Exact",
    "Findings",
    "Interpolation",
    "LatentCloud",
    "Likelihood",
    "Modes",
    "Plot",
    "Posterior",
    "Recovery",
    "RoundTrip",
    "Samples",
    "Scores",
    "Study",
    "Table",
    "Temperature",
    "Training",
]
