"""Simulated data of inverse problems: priors, forward models and noise."""
