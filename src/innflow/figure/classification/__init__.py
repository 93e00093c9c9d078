"""Figures about generative classifiers."""
