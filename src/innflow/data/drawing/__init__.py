"""Photographs that are drawn: a canvas, what stands on it, and what is behind it."""
