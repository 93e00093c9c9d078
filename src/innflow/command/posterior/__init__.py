"""`innflow-posterior`: draws, figures and warnings for observed data."""

from innflow.command.posterior.command import posterior

__all__ = ["posterior"]
