"""Image data sets: folders, buckets, sharded tars, well-known sets, drawn cats."""
