"""Analyses of a trained application."""

from innflow.analysis.agreement import Agreement
from innflow.analysis.amplitude_phase import AmplitudePhase
from innflow.analysis.anomaly_map import AnomalyMap
from innflow.analysis.ascent import Ascent
from innflow.analysis.attributes import Attributes
from innflow.analysis.base import Analysis, Findings, Plot, Study, Table
from innflow.analysis.batches import Batches
from innflow.analysis.classification import Classification
from innflow.analysis.counterfactual import Counterfactual
from innflow.analysis.couplings import Couplings
from innflow.analysis.coverage import Coverage
from innflow.analysis.density2d import Density2d
from innflow.analysis.exact import Exact
from innflow.analysis.interpolation import Interpolation
from innflow.analysis.latent_cloud import LatentCloud
from innflow.analysis.latent_images import LatentImages
from innflow.analysis.layers import Layers
from innflow.analysis.likelihood import Likelihood
from innflow.analysis.modes import Modes
from innflow.analysis.posterior import Posterior
from innflow.analysis.ranking import Ranking
from innflow.analysis.recovery import Recovery
from innflow.analysis.roundtrip import RoundTrip
from innflow.analysis.samples import Samples
from innflow.analysis.scores import Scores
from innflow.analysis.temperature import Temperature
from innflow.analysis.texture import Texture
from innflow.analysis.training import Training

__all__ = [
    "Agreement",
    "AmplitudePhase",
    "Analysis",
    "AnomalyMap",
    "Ascent",
    "Attributes",
    "Batches",
    "Classification",
    "Counterfactual",
    "Couplings",
    "Coverage",
    "Density2d",
    "Exact",
    "Findings",
    "Interpolation",
    "LatentCloud",
    "LatentImages",
    "Layers",
    "Likelihood",
    "Modes",
    "Plot",
    "Posterior",
    "Ranking",
    "Recovery",
    "RoundTrip",
    "Samples",
    "Scores",
    "Study",
    "Table",
    "Temperature",
    "Texture",
    "Training",
]
