"""Coupling networks."""
