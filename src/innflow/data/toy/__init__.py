"""Small data sets with known densities."""
