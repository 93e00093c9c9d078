"""Analyses of posteriors."""
