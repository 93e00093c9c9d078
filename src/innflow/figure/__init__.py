"""Figures drawn from arrays: pure functions that return a matplotlib Figure, never pyplot."""
