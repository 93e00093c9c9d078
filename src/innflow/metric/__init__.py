"""Metrics computed from NumPy arrays."""

from innflow.metric.c2st import compute_c2st, compute_err_post, compute_moments
from innflow.metric.correlation import pearson, spearman, spearman_matrix
from innflow.metric.divergence import bits_per_dim, kl_divergence, mmd
from innflow.metric.image_statistics import (
    count_differences,
    difference_density,
    mean_absolute_difference,
    mean_log_density,
    neighbour_correlation,
    swap_phases,
)
from innflow.metric.latent_tests import compute_independence, compute_normality
from innflow.metric.local_calibration import LocalTest
from innflow.metric.posterior_calibration import (
    check_levels,
    check_ranks,
    compute_band,
    compute_calibration_error,
    compute_levels,
    compute_ranks,
    compute_tarp,
    draw_tarp_references,
    spread_ranks,
)
from innflow.metric.roc import Estimate, auroc, compute_ood
from innflow.metric.sample_quality import (
    LinearProbe,
    frechet_distance,
    kernel_distance,
    precision_recall,
)
from innflow.metric.sharpness import check_sharpness, compute_energy, compute_sharpness

__all__ = [
    "Estimate",
    "LinearProbe",
    "LocalTest",
    "auroc",
    "bits_per_dim",
    "check_levels",
    "check_ranks",
    "check_sharpness",
    "compute_band",
    "compute_c2st",
    "compute_calibration_error",
    "compute_energy",
    "compute_err_post",
    "compute_independence",
    "compute_levels",
    "compute_moments",
    "compute_normality",
    "compute_ood",
    "compute_ranks",
    "compute_sharpness",
    "compute_tarp",
    "count_differences",
    "difference_density",
    "draw_tarp_references",
    "frechet_distance",
    "kernel_distance",
    "kl_divergence",
    "mean_absolute_difference",
    "mean_log_density",
    "mmd",
    "neighbour_correlation",
    "pearson",
    "precision_recall",
    "spearman",
    "spearman_matrix",
    "spread_ranks",
    "swap_phases",
]
