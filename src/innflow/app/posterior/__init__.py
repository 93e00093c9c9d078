"""Inverse problems: posteriors of parameters, their units, ensembles, corrections and tests."""
