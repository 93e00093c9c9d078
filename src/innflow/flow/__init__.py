"""Coupling flows on nflows' `Transform` contract: `flow(x, context) -> (z, logabsdet)`."""

from innflow.flow.actnorm import ActNorm
from innflow.flow.alignment import Alignment
from innflow.flow.build import flat, image, vector
from innflow.flow.coupling import Coupling, MaskedCoupling
from innflow.flow.linear import LULinear
from innflow.flow.multiscale import CouplingFlow
from innflow.flow.permute import Permute
from innflow.flow.regression import Regression
from innflow.flow.squeeze import Flatten
from innflow.flow.subnet import MLP, ConvNet
from innflow.flow.univariate import Affine, Spline

__all__ = [
    "MLP",
    "ActNorm",
    "Affine",
    "Alignment",
    "ConvNet",
    "Coupling",
    "CouplingFlow",
    "Flatten",
    "LULinear",
    "MaskedCoupling",
    "Permute",
    "Regression",
    "Spline",
    "flat",
    "image",
    "vector",
]
