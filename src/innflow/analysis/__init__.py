"""Analyses of a trained application."""

from innflow.analysis.classification.class_probabilities import Classification
from innflow.analysis.classification.counterfactual import Counterfactual
from innflow.analysis.classification.mode_coverage import Modes
from innflow.analysis.density.density2d import Density2d
from innflow.analysis.density.known_density import Exact
from innflow.analysis.density.roundtrip import RoundTrip
from innflow.analysis.density.set_likelihoods import Likelihood
from innflow.analysis.findings import Findings, Plot, Table
from innflow.analysis.latent.attributes import Attributes
from innflow.analysis.latent.cloud import LatentCloud
from innflow.analysis.latent.interpolation import Interpolation
from innflow.analysis.latent.sample_quality import SampleQuality
from innflow.analysis.latent.samples import Samples
from innflow.analysis.latent.temperature import Temperature
from innflow.analysis.ood.agreement import Agreement
from innflow.analysis.ood.amplitude_phase import AmplitudePhase
from innflow.analysis.ood.anomaly_map import AnomalyMap
from innflow.analysis.ood.batches import Batches
from innflow.analysis.ood.couplings import Couplings
from innflow.analysis.ood.ranking import Ranking
from innflow.analysis.ood.scores import Scores
from innflow.analysis.ood.texture import Texture
from innflow.analysis.posterior.coverage import Coverage
from innflow.analysis.posterior.local_calibration import LocalCalibration
from innflow.analysis.posterior.observations import Posterior
from innflow.analysis.posterior.recovery import Recovery
from innflow.analysis.study import Analysis, Study
from innflow.analysis.training_log import Training

__all__ = [
    "Agreement",
    "AmplitudePhase",
    "Analysis",
    "AnomalyMap",
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
    "Likelihood",
    "LocalCalibration",
    "Modes",
    "Plot",
    "Posterior",
    "Ranking",
    "Recovery",
    "RoundTrip",
    "SampleQuality",
    "Samples",
    "Scores",
    "Study",
    "Table",
    "Temperature",
    "Texture",
    "Training",
]
