"""Training runs: set-up, training, checkpoints, resuming, reports."""
