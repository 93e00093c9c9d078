"""Applications: one flow, another partition, another question."""

from innflow.app.base import FlowModule
from innflow.app.density import Density
from innflow.app.generation import Generation
from innflow.app.questions import Application

__all__ = ["Application", "Density", "FlowModule", "Generation"]
