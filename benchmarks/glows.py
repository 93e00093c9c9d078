"""The same multi-scale Glow in innflow, nflows, normflows and FrEIA, from each library's layers.

Each level is a squeeze, then a number of steps of ActNorm, 1x1 convolution and affine coupling;
half of the channels leave after each level but the last. The coupling networks are those of innflow
in all of them (3x3, 1x1 and 3x3 convolutions, the last one 0 at first). `DIFFERENCES` states what
the libraries do not share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import innflow.flow
from benchmarks.variants import Bf16
from benchmarks.work import FREIA_ALL, NFLOWS, NORMFLOWS, OURS, split
from innflow.flow import ConvNet

DIFFERENCES = {
    OURS: "scale exp(2 tanh(s / 2)), between 0.14 and 7.4; LU of a random rotation; standard "
    "normal",
    NFLOWS: "scale sigmoid(s + 2) + 0.001, at most 1.001; LU that starts as the identity after a "
    "random permutation; standard normal; the first half of the channels is changed, since "
    "MultiscaleCompositeTransform factors the first half out",
    NORMFLOWS: "scale sigmoid(s + 2), at most 1; LU of a random rotation; a normal with a trained "
    "mean and width for each latent dimension",
    FREIA_ALL: "scale exp(2 tanh(0.1 s)), between 0.14 and 7.4; a fixed random rotation in place "
    "of the 1x1 convolution; trained scales and shifts that do not start from the data, for which "
    "pixels are divided by 0.25; standard normal",
}
"""What differs between the Glows: scale of a coupling, 1x1 convolution, ActNorm, base density."""

SPREAD = 0.25
"""Standard deviation of the pixels of a photograph, about."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of a Glow: shape of an image, then couplings and hidden channels of each level."""

    shape: tuple[int, int, int]
    depth: tuple[int, ...]
    hidden: tuple[int, ...]
    bf16: bool = False
    haar: bool = False  # FrEIA's Haar wavelets instead of a squeeze
    channels_last: bool = True


class Glow(nn.Module):
    """The log-density of a flow on images in [-1/2, 1/2], and its initialisation.

    Args:
        flow: The flow.
        latents: Maps the flow and an image (B, C, H, W) to latents, each (B, ...), and logabsdet.
        sizes: Sizes and memory format.
    """

    def __init__(self, flow: Any, latents: Callable[[Any, Tensor], Any], sizes: Sizes) -> None:
        super().__init__()
        self.flow, self.latents = flow, latents
        self.memory = torch.channels_last if sizes.channels_last else torch.contiguous_format
        self.to(memory_format=self.memory)

    def forward(self, x: Tensor) -> Tensor:
        """Return the log-density (B,) in nats of images (B, C, H, W)."""
        latents, log_prob = self.latents(self.flow, x.contiguous(memory_format=self.memory))
        for z in latents:
            log_prob = log_prob - 0.5 * (z.square() + math.log(2 * math.pi)).flatten(1).sum(dim=1)
        return log_prob

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        """Initialise ActNorms from a batch; those of peers do so in their first call."""
        if isinstance(self.flow, innflow.flow.CouplingFlow):
            self.flow.initialise(x)
        else:
            self(x)

    def train(self, mode: bool = True) -> Glow:
        """Switch to training, or to evaluation, in which all networks compute in fp32."""
        for module in self.modules():
            if isinstance(module, Bf16):
                module.active = mode
        return super().train(mode)


def _levels(sizes: Sizes) -> Iterable[tuple[int, int, int, Callable[..., nn.Module]]]:
    """Yield channels and side after the squeeze, couplings, and maker of networks of each level."""
    channels, side = sizes.shape[0], sizes.shape[1]
    for depth, hidden in zip(sizes.depth, sizes.hidden, strict=True):
        channels, side = 4 * channels, side // 2

        def subnet(inputs: int, outputs: int, hidden: int = hidden, **_: Any) -> nn.Module:
            net = ConvNet(inputs, outputs, hidden=hidden)
            return Bf16(net) if sizes.bf16 else net

        yield channels, side, depth, subnet
        channels //= 2


def ours(sizes: Sizes) -> Glow:
    """Build the Glow of innflow."""
    nets = [subnet for *_, subnet in _levels(sizes)]
    levels = len(nets)
    flow = innflow.flow.glow(sizes.shape, levels, sizes.depth, sizes.hidden, subnet=nets[0])

    def latents(flow: Any, x: Tensor) -> tuple[list[Tensor], Tensor]:
        z, logabsdet = flow(x)
        return [z], logabsdet

    return Glow(flow, latents, sizes)


def nflows(sizes: Sizes) -> Glow:
    """Build the Glow of nflows, with an identity at first in the 1x1 convolutions as by default."""
    from nflows import transforms as t

    class Layout(t.Transform):
        def forward(self, x: Tensor, context: Any = None) -> tuple[Tensor, Tensor]:
            return x.contiguous(memory_format=torch.channels_last), x.new_zeros(len(x))

    flow = t.MultiscaleCompositeTransform(len(sizes.depth))
    for channels, side, depth, subnet in _levels(sizes):
        steps = [t.SqueezeTransform()] + [Layout()] * sizes.channels_last
        mask = torch.arange(channels) < channels // 2  # the changed half, which then leaves
        for _ in range(depth):
            steps += [t.ActNorm(channels), t.OneByOneConvolution(channels)]
            steps.append(t.AffineCouplingTransform(mask, subnet))
        flow.add_transform(t.CompositeTransform(steps), (channels, side, side))

    def latents(flow: Any, x: Tensor) -> tuple[list[Tensor], Tensor]:
        z, logabsdet = flow(x)
        return [z], logabsdet

    return Glow(flow, latents, sizes)


def normflows(sizes: Sizes) -> Glow:
    """Build the Glow of normflows as in its example, without classes."""
    import normflows as nf

    class Layout(nf.flows.Flow):
        def forward(self, z: Tensor) -> tuple[Tensor, float]:
            return z, 0.0

        def inverse(self, z: Tensor) -> tuple[Tensor, float]:
            return z.contiguous(memory_format=torch.channels_last), 0.0

    bases, flows, merges = [], [], []
    levels = list(_levels(sizes))
    for index, (channels, side, depth, subnet) in reversed(list(enumerate(levels))):
        blocks = [nf.flows.GlowBlock(channels, 1) for _ in range(depth)]
        for block in blocks:  # of which each builds a network, replaced by the common one
            block.flows[0].flows[1].param_map = subnet((channels + 1) // 2, 2 * (channels // 2))
        flows.append([*blocks, *[Layout()] * sizes.channels_last, nf.flows.Squeeze()])
        last = index == len(levels) - 1
        bases.append(
            nf.distributions.DiagGaussian((channels if last else channels // 2, side, side))
        )
        if not last:
            merges.append(nf.flows.Merge())

    def latents(flow: Any, x: Tensor) -> tuple[list[Tensor], Tensor]:
        return [], flow.log_prob(x, None)  # with the density of its trained base distributions

    return Glow(nf.MultiscaleFlow(bases, flows, merges, class_cond=False), latents, sizes)


def freia(sizes: Sizes) -> Glow:
    """Build the Glow of FrEIA from AllInOneBlocks, which its authors recommend."""
    from FrEIA.framework import GraphINN, InputNode, Node, OutputNode
    from FrEIA.modules import AllInOneBlock, HaarDownsampling, IRevNetDownsampling, Split

    nodes = [InputNode(*sizes.shape)]
    source: Any = nodes[0]
    levels = list(_levels(sizes))
    for index, (channels, _, depth, subnet) in enumerate(levels):
        nodes.append(Node(source, HaarDownsampling if sizes.haar else IRevNetDownsampling, {}))
        options = {"subnet_constructor": subnet, "permute_soft": True}
        for _ in range(depth):
            nodes.append(Node(nodes[-1], AllInOneBlock, options))
        source = nodes[-1]
        if index < len(levels) - 1:
            halves = [channels // 2, channels // 2]
            nodes.append(Node(source, Split, {"section_sizes": halves}))
            source = nodes[-1].out0
            nodes.append(OutputNode(nodes[-1].out1))
    nodes.append(OutputNode(source))

    def latents(flow: Any, x: Tensor) -> tuple[Any, Tensor]:
        z, logabsdet = flow(x / SPREAD)
        return z, logabsdet - x[0].numel() * math.log(SPREAD)

    return Glow(GraphINN(nodes, force_tuple_output=True), latents, sizes)


BUILD: dict[str, Callable[[Sizes], Glow]] = {
    OURS: ours,
    NFLOWS: nflows,
    NORMFLOWS: normflows,
    FREIA_ALL: freia,
}


def build(name: str, sizes: Sizes) -> Glow:
    """Build the Glow of a contender, for example of `innflow` or of `innflow bf16`."""
    return BUILD[split(name)[0]](sizes)
