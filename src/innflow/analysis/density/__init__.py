"""Analyses of densities: likelihoods, known densities, invertibility."""
