"""Applications of a flow, which differ in the partition: density, classes, posteriors."""

from innflow.app.application import Application, Unconditional
from innflow.app.classification import Classification
from innflow.app.density import Density, Generation
from innflow.app.module import FlowModule
from innflow.app.posterior.conditional import Member
from innflow.app.posterior.correction import Correction, correct_posterior
from innflow.app.posterior.inverse import Inverse
from innflow.app.schedule import constant, cosine

__all__ = [
    "Application",
    "Classification",
    "Correction",
    "Density",
    "FlowModule",
    "Generation",
    "Inverse",
    "Member",
    "Unconditional",
    "constant",
    "correct_posterior",
    "cosine",
]
