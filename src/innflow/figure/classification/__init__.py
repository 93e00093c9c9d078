"""Figures of generative classifiers."""
