"""Figures of anomaly scores."""
