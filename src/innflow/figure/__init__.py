"""Figures drawn from arrays: functions that return a matplotlib Figure, without pyplot."""
