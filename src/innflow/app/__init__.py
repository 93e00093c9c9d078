"""Applications: one flow, another partition, another question."""

from innflow.app.base import FlowModule
from innflow.app.classification import Classification
from innflow.app.density import Density
from innflow.app.generation import Generation
from innflow.app.inverse import Inverse
from innflow.app.questions import Application, Unconditional

__all__ = [
    "Application",
    "Classification",
    "Density",
    "FlowModule",
    "Generation",
    "Inverse",
    "Unconditional",
]
