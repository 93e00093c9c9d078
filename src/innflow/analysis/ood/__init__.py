"""Analyses of anomaly scores and of the properties that determine the likelihood."""
