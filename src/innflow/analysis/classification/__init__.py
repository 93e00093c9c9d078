"""Analyses of generative classifiers."""
