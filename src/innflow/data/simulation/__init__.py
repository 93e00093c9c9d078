"""Simulations of forward models as data for inverse problems."""
