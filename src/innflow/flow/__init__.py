"""Coupling flows on nflows' `Transform` contract: `flow(x, context) -> (z, logabsdet)`."""

from innflow.flow.actnorm import ActNorm
from innflow.flow.builder.image import dense, glow, realnvp
from innflow.flow.builder.single import maps, masked, patches
from innflow.flow.builder.tokens import tokens
from innflow.flow.builder.vector import flat, surrogate, vector
from innflow.flow.coupling import Coupling, MaskedCoupling
from innflow.flow.given import GivenFirst
from innflow.flow.inspect import CouplingTrace, latent_layout, to_image_layout, trace
from innflow.flow.linear import LULinear, Orthogonal
from innflow.flow.multiscale import CouplingFlow
from innflow.flow.network.conv import Autoencoder, ConvNet, GatedNet, ImageMLP, ResNet
from innflow.flow.network.embedding import Embedding, Observed, SetEmbedding
from innflow.flow.network.grid_embedding import ImageEmbedding, SeriesEmbedding
from innflow.flow.network.mlp import MLP
from innflow.flow.network.parts_embedding import PartsEmbedding, embed
from innflow.flow.network.transformer import Transformer
from innflow.flow.permute import Permute
from innflow.flow.reshape import Flatten, PairTokens, Patchify, Patchwise
from innflow.flow.spline import Spline
from innflow.flow.univariate import Affine
from innflow.flow.whitening import Alignment, LinearForecast, Regression

__all__ = [
    "MLP",
    "ActNorm",
    "Affine",
    "Alignment",
    "Autoencoder",
    "ConvNet",
    "Coupling",
    "CouplingFlow",
    "CouplingTrace",
    "Embedding",
    "Flatten",
    "GatedNet",
    "GivenFirst",
    "ImageEmbedding",
    "ImageMLP",
    "LULinear",
    "LinearForecast",
    "MaskedCoupling",
    "Observed",
    "Orthogonal",
    "PairTokens",
    "PartsEmbedding",
    "Patchify",
    "Patchwise",
    "Permute",
    "Regression",
    "ResNet",
    "SeriesEmbedding",
    "SetEmbedding",
    "Spline",
    "Transformer",
    "dense",
    "embed",
    "flat",
    "glow",
    "latent_layout",
    "maps",
    "masked",
    "patches",
    "realnvp",
    "surrogate",
    "to_image_layout",
    "tokens",
    "trace",
    "vector",
]
