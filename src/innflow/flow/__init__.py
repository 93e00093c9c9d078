"""Coupling flows on nflows' `Transform` contract: `flow(x, context) -> (z, logabsdet)`."""

from innflow.flow.actnorm import ActNorm
from innflow.flow.alignment import Alignment
from innflow.flow.build import flat, image, vector
from innflow.flow.build_dense import dense
from innflow.flow.build_single import maps, masked, patches
from innflow.flow.build_tokens import tokens
from innflow.flow.coupling import Coupling, MaskedCoupling
from innflow.flow.inspect import Seen, latent_layout, to_image_layout, trace
from innflow.flow.linear import LULinear
from innflow.flow.multiscale import CouplingFlow
from innflow.flow.orthogonal import Orthogonal
from innflow.flow.patchwise import Patchwise
from innflow.flow.permute import Permute
from innflow.flow.regression import Regression
from innflow.flow.squeeze import Flatten
from innflow.flow.subnet import MLP, ConvNet
from innflow.flow.subnet_image import Autoencoder, GatedNet, ImageMLP, ResNet
from innflow.flow.token_layout import PairTokens, Patchify
from innflow.flow.transformer import Transformer
from innflow.flow.univariate import Affine, Spline

__all__ = [
    "MLP",
    "ActNorm",
    "Affine",
    "Alignment",
    "Autoencoder",
    "ConvNet",
    "Coupling",
    "CouplingFlow",
    "Flatten",
    "GatedNet",
    "ImageMLP",
    "LULinear",
    "MaskedCoupling",
    "Orthogonal",
    "PairTokens",
    "Patchify",
    "Patchwise",
    "Permute",
    "Regression",
    "ResNet",
    "Seen",
    "Spline",
    "Transformer",
    "dense",
    "flat",
    "image",
    "latent_layout",
    "maps",
    "masked",
    "patches",
    "to_image_layout",
    "tokens",
    "trace",
    "vector",
]
