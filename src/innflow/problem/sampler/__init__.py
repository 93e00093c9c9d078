"""Samplers of reference posteriors: importance resampling, Laplace fits, tempering."""
