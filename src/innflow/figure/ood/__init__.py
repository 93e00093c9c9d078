"""Figures about anomaly scores."""
