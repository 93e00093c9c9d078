"""Analyses of anomaly scores and of what drives the likelihood."""
