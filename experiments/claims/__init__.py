"""Twelve claims of the literature on normalizing flows, measured: see README.md."""
