"""Key of the auxiliary items in a training batch."""

GENERAL = "general"
"""Auxiliary outlier items, as many as the batch has, that the loss contrasts with the inliers."""
