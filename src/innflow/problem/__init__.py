"""Inverse problems: priors, forward models and draws of their posteriors."""

from innflow.problem.joint import Joint

__all__ = ["Joint"]
