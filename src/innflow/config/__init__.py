"""Configs: resolvers, checks against signatures, building, and names a file may build."""
