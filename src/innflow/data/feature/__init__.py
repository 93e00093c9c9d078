"""Features of pretrained networks as data."""
