"""Data modules that yield dicts keyed by part names."""
