"""Figures of posteriors."""
