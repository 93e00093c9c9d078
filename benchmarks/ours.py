"""The coupling networks alone, and the flows of innflow: plain, compiled, in bf16, reversible."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import innflow.flow
from benchmarks.work import BINS, TAIL, Work
from innflow.flow import MLP, ConvNet, CouplingFlow, Spline

Prepare = Callable[[CouplingFlow], nn.Module]
"""Prepares a flow for the measurement, for example compiles it."""


def networks(work: Work, seed: int = 0) -> list[nn.Module]:
    """Return the coupling networks of a work, which every contender copies.

    Their last layers start at small random values: with zeros the flow would be the identity and
    some gradients would be exactly 0.
    """
    torch.manual_seed(seed)
    made: list[nn.Module] = []
    for _ in range(work.depth):
        net: Any
        if work.is_image:
            net = ConvNet(*work.head, hidden=work.hidden)
        else:
            net = MLP(*work.head, hidden=(work.hidden, work.hidden))
        nn.init.normal_(net.layers[-1].weight, std=0.01)
        made.append(net)
    return made


def hand_out(nets: Sequence[nn.Module]) -> Callable[..., nn.Module]:
    """Return a constructor of coupling networks that returns copies of these, in order."""
    supply = iter(nets)

    def subnet(inputs: int, outputs: int, **_: Any) -> nn.Module:
        net = copy.deepcopy(next(supply))
        sizes = [weight.shape for weight in net.parameters()]
        if (sizes[0][1], sizes[-1][0]) != (inputs, outputs):
            raise ValueError(f"no network from {inputs} to {outputs}: the next one has {sizes}")
        return net

    return subnet


class Bare(nn.Module):
    """The coupling networks alone, each with its own input: a lower bound of the time of a flow.

    Gradients of the inputs are computed too, as a flow needs them for the layers before.
    """

    def __init__(self, work: Work, nets: Sequence[nn.Module]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(copy.deepcopy(net) for net in nets)
        read, _ = work.head
        self.inputs = nn.ParameterList(
            nn.Parameter(torch.randn(work.batch, read, *work.shape[1:])) for _ in nets
        )
        if work.is_image:
            self.to(memory_format=torch.channels_last)
        with torch.no_grad():
            self.gradients = [torch.ones_like(output) for output in self()]

    def forward(self) -> list[Tensor]:
        """Return the outputs of all networks."""
        return [net(h) for net, h in zip(self.nets, self.inputs, strict=True)]

    def step(self) -> None:
        """Compute the gradients of all parameters and inputs."""
        torch.autograd.backward(self(), self.gradients)


class BareBF16(Bare):
    """The coupling networks alone under bf16 autocast."""

    def forward(self) -> list[Tensor]:
        """Return the outputs of all networks."""
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward()


class Autocast(nn.Module):
    """A flow under bf16 autocast; innflow keeps everything but coupling networks in fp32."""

    def __init__(self, flow: Any) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map data (B, *shape) to the latent and logabsdet (B,)."""
        with torch.autocast("cpu", torch.bfloat16):
            return self.flow(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map a latent to data (B, *shape) and logabsdet (B,)."""
        with torch.autocast("cpu", torch.bfloat16):
            return self.flow.inverse(z)


def plain(flow: CouplingFlow) -> nn.Module:
    """Return the flow unchanged."""
    return flow


def compiled(flow: CouplingFlow) -> nn.Module:
    """Compile a flow in place, both directions."""
    flow.compile()
    return flow


def reversible(flow: CouplingFlow) -> nn.Module:
    """Train a flow without stored activations."""
    flow.reversible = True
    return flow


def build(work: Work, nets: Sequence[nn.Module], prepare: Prepare = plain) -> nn.Module:
    """Build the flow of innflow for a work: ActNorm, permutation or 1x1 convolution, coupling."""
    coupling: Any = Spline(BINS, TAIL) if work.coupling == "spline" else work.coupling
    subnet = hand_out(nets)
    if work.is_image:
        flow = innflow.flow.maps(work.shape, work.depth, coupling=coupling, subnet=subnet)
    else:
        flow = innflow.flow.vector(work.shape, work.depth, coupling=coupling, subnet=subnet)
    return prepare(flow)
