"""Applications of a flow, which differ in the partition: density, classes, posteriors."""

from innflow.app.application import Application, Unconditional
from innflow.app.classification import Classification
from innflow.app.density import Density, Generation
from innflow.app.inverse import Inverse
from innflow.app.module import FlowModule
from innflow.app.schedule import constant, cosine

__all__ = [
    "Application",
    "Classification",
    "Density",
    "FlowModule",
    "Generation",
    "Inverse",
    "Unconditional",
    "constant",
    "cosine",
]
