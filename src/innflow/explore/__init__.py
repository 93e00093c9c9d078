"""A local page of a trained run: samples, scores, directions in latent space, posteriors."""

from innflow.explore.page import make_explorer
from innflow.explore.run import Run

__all__ = ["Run", "make_explorer"]
