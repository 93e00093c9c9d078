"""Analyses of latent space and of samples."""
