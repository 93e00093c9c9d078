"""Configs: resolvers, checks of keys and values, building, and which code a file may name."""
