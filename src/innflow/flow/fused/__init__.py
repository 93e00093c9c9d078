"""Fast paths: the results of the plain layers in fewer operations."""
