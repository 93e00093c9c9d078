"""The coupling networks that every contender copies, these alone, and the flows of innflow."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

import innflow.flow
from benchmarks.work import BINS, TAIL, Work
from innflow.flow import MLP, ConvNet, CouplingFlow, Spline


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

    Args:
        work: Sizes and device.
        nets: The networks.
        contiguous: Whether images have the default memory format instead of channels last.
        bf16: Whether the networks run under bf16 autocast.
    """

    def __init__(
        self, work: Work, nets: Sequence[nn.Module], contiguous: bool = False, bf16: bool = False
    ) -> None:
        super().__init__()
        self.bf16 = bf16
        self.nets = nn.ModuleList(copy.deepcopy(net) for net in nets)
        read, _ = work.head
        self.inputs = nn.ParameterList(
            nn.Parameter(torch.randn(work.batch, read, *work.shape[1:])) for _ in nets
        )
        self.to(work.device)
        if work.is_image and not contiguous:
            self.to(memory_format=torch.channels_last)
        with torch.no_grad():
            self.gradients = [torch.ones_like(output) for output in self()]

    def forward(self) -> list[Tensor]:
        """Return the outputs of all networks."""
        with torch.autocast(self.inputs[0].device.type, torch.bfloat16, enabled=self.bf16):
            return [net(h) for net, h in zip(self.nets, self.inputs, strict=True)]

    def step(self) -> None:
        """Compute the gradients of all parameters and inputs."""
        torch.autograd.backward(self(), self.gradients)


def build(work: Work, nets: Sequence[nn.Module]) -> CouplingFlow:
    """Build the flow of innflow for a work: ActNorm, permutation or 1x1 convolution, coupling."""
    coupling: Any = Spline(BINS, TAIL) if work.coupling == "spline" else work.coupling
    subnet = hand_out(nets)
    make = innflow.flow.maps if work.is_image else innflow.flow.vector
    return make(work.shape, work.depth, coupling=coupling, subnet=subnet)
