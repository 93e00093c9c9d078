"""Configs: resolvers, checks against signatures, building, and what a file may name."""
