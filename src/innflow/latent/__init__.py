"""Latent densities: one for each right part of a partition."""

from innflow.latent.density import Density, Latent, Normal, Observed, StandardNormal
from innflow.latent.mixture import ClassMixture, OneHot
from innflow.latent.principal import PrincipalNormal

__all__ = [
    "ClassMixture",
    "Density",
    "Latent",
    "Normal",
    "Observed",
    "OneHot",
    "PrincipalNormal",
    "StandardNormal",
]
