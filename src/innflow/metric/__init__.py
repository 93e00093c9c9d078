"""Numbers computed from arrays."""

from innflow.metric.likelihood import bits_per_dim, kl_divergence
from innflow.metric.ood import Estimate, aupr, auroc, compute_ood, fpr_at_tpr
from innflow.metric.sample import mmd

__all__ = [
    "Estimate",
    "aupr",
    "auroc",
    "bits_per_dim",
    "compute_ood",
    "fpr_at_tpr",
    "kl_divergence",
    "mmd",
]
