"""Figures about posteriors."""
