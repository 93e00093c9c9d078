"""The same flows in nflows, normflows, FrEIA and zuko, each from its own layers.

All use copies of the same coupling networks, the same number of couplings on halves, a permutation
before each (an invertible 1x1 convolution for images) and an ActNorm; the docstrings name what
differs. Each flow is wrapped so that `forward` maps data to the latent, as in innflow.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.ours import hand_out
from benchmarks.work import BINS, FREIA, FREIA_ALL, NFLOWS, NORMFLOWS, TAIL, ZUKO, Work
from innflow.errors import InnflowError
from innflow.flow.permute import mixing_order

PACKAGES = {
    NFLOWS: "nflows",
    NORMFLOWS: "normflows",
    FREIA: "FrEIA",
    FREIA_ALL: "FrEIA",
    ZUKO: "zuko",
}
"""The package of each contender."""


def need(names: Sequence[str]) -> None:
    """Check that the packages of these contenders are installed.

    Raises:
        InnflowError: if not, with the missing packages and the command that installs them.
    """
    missing = []
    for package in dict.fromkeys(PACKAGES[name] for name in names if name in PACKAGES):
        try:
            importlib.import_module(package)
        except ImportError:
            missing.append(package)
    if missing:
        raise InnflowError(
            f"benchmarks: {', '.join(missing)} not installed: pip install 'innflow[bench]'"
        )


class _Nflows(nn.Module):
    """Transforms of nflows in its CompositeTransform."""

    def __init__(self, steps: Sequence[nn.Module]) -> None:
        super().__init__()
        from nflows.transforms import CompositeTransform

        self.transform: Any = CompositeTransform(steps)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map data (B, *shape) to the latent and logabsdet (B,)."""
        return self.transform(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map a latent to data (B, *shape) and logabsdet (B,)."""
        return self.transform.inverse(z)


def nflows(work: Work, nets: Sequence[nn.Module]) -> nn.Module:
    """Build the flow with nflows, whose affine scale is sigmoid(s + 2) + 0.001, at most 1.001."""
    from nflows import transforms as t

    features, subnet = work.shape[0], hand_out(nets)
    mask = torch.arange(features) >= features - features // 2
    steps: list[nn.Module] = []
    for index in range(work.depth):
        if work.is_image:
            mix: nn.Module = t.OneByOneConvolution(features, identity_init=False)
        else:
            mix = t.Permutation(mixing_order(features, index))
        if work.coupling == "affine":
            coupling = t.AffineCouplingTransform(mask, subnet)
        else:
            coupling = t.PiecewiseRationalQuadraticCouplingTransform(
                mask, subnet, num_bins=BINS, tails="linear", tail_bound=TAIL
            )
            coupling.transform_net.hidden_features = (
                work.hidden
            )  # without it nflows warns in every call
        steps += [t.ActNorm(features), mix, coupling]
    return _Nflows(steps)


class _Normflows(nn.Module):
    """Flows of normflows, whose forward direction is from the latent to data."""

    def __init__(self, flows: Sequence[nn.Module]) -> None:
        super().__init__()
        import normflows

        self.flow: Any = normflows.NormalizingFlow(None, list(flows)[::-1])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map data (B, *shape) to the latent and logabsdet (B,)."""
        return self.flow.inverse_and_log_det(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map a latent to data (B, *shape) and logabsdet (B,)."""
        return self.flow.forward_and_log_det(z)


def normflows(work: Work, nets: Sequence[nn.Module]) -> nn.Module:
    """Build the flow with normflows: unbounded affine log-scale, a sigmoid scale for images."""
    import normflows as nf
    from normflows.flows.neural_spline.coupling import PiecewiseRationalQuadraticCoupling

    class Turned(nf.flows.Flow):
        # As CoupledRationalQuadraticSpline, which does not accept given networks.
        def __init__(self, coupling: Any) -> None:
            super().__init__()
            self.coupling = coupling

        def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
            return self.coupling.inverse(z)

        def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
            return self.coupling(z)

    features, subnet = work.shape[0], hand_out(nets)
    mask = torch.arange(features) >= features - features // 2
    flows: list[nn.Module] = []
    for index in range(work.depth):
        if work.is_image:
            block = nf.flows.GlowBlock(features, work.hidden)
            block.flows[0].flows[1].param_map = subnet(*work.head)
            flows.append(block)  # ActNorm, 1x1 convolution and coupling in one
            continue
        mix = nf.flows.Permute(features, mode="swap" if index % 2 or features <= 3 else "shuffle")
        if work.coupling == "affine":
            coupling = nf.flows.AffineCouplingBlock(subnet(*work.head))
        else:
            inner = PiecewiseRationalQuadraticCoupling(
                mask, subnet, num_bins=BINS, tails="linear", tail_bound=TAIL
            )
            inner.transform_net.hidden_features = work.hidden
            coupling = Turned(inner)
        flows += [nf.flows.ActNorm((features,)), mix, coupling]
    return _Normflows(flows)


class _FrEIA(nn.Module):
    """A SequenceINN of FrEIA."""

    def __init__(self, sequence: nn.Module) -> None:
        super().__init__()
        self.sequence = sequence

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map data (B, *shape) to the latent and logabsdet (B,)."""
        return self.sequence(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map a latent to data (B, *shape) and logabsdet (B,)."""
        return self.sequence(z, rev=True)


def freia(work: Work, nets: Sequence[nn.Module]) -> nn.Module:
    """Build the flow with FrEIA's ActNorm, PermuteRandom and AffineCouplingOneSided."""
    from FrEIA.framework import SequenceINN
    from FrEIA.modules import ActNorm, AffineCouplingOneSided, PermuteRandom

    sequence, subnet = SequenceINN(*work.shape), hand_out(nets)
    for index in range(work.depth):
        sequence.append(ActNorm)
        sequence.append(PermuteRandom, seed=index)
        sequence.append(AffineCouplingOneSided, subnet_constructor=subnet, clamp=2.0)
    return _FrEIA(sequence)


def freia_all(work: Work, nets: Sequence[nn.Module]) -> nn.Module:
    """Build the flow with FrEIA's AllInOneBlock, which its authors recommend.

    Its permutation is a product with a dense matrix. For images it is a fixed random rotation, a
    1x1 convolution without gradient.
    """
    from FrEIA.framework import SequenceINN
    from FrEIA.modules import AllInOneBlock

    sequence, subnet = SequenceINN(*work.shape), hand_out(nets)
    for _ in range(work.depth):
        sequence.append(AllInOneBlock, subnet_constructor=subnet, permute_soft=work.is_image)
    return _FrEIA(sequence)


class _Zuko(nn.Module):
    """A flow of zuko, which builds its transformation in every call."""

    def __init__(self, flow: Any) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map data (B, *shape) to the latent and logabsdet (B,)."""
        return self.flow.transform().call_and_ladj(x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map a latent to data (B, *shape) and logabsdet (B,)."""
        return self.flow.transform().inv.call_and_ladj(z)


def zuko(work: Work, nets: Sequence[nn.Module]) -> nn.Module:
    """Build the flow with zuko's NICE: alternating masks, no permutations and no ActNorm.

    zuko's NSF is autoregressive; the splines here are NICE's couplings with NSF's transformation.
    """
    from zuko.flows import NICE
    from zuko.transforms import MonotonicRQSTransform

    kind: dict[str, Any] = {}
    if work.coupling == "spline":
        kind["univariate"] = partial(MonotonicRQSTransform, bound=TAIL)
        kind["shapes"] = [(BINS,), (BINS,), (BINS - 1,)]
    flow = NICE(work.dims, transforms=work.depth, hidden_features=(1,), **kind)
    subnet = hand_out(nets)
    for coupling in flow.transform.transforms:
        coupling.hyper = subnet(*work.head)
    return _Zuko(flow)


Build = Callable[[Work, Sequence[nn.Module]], nn.Module]
BUILD: dict[str, Build] = {
    NFLOWS: nflows,
    NORMFLOWS: normflows,
    FREIA: freia,
    FREIA_ALL: freia_all,
    ZUKO: zuko,
}


def normflows_glow(shape: tuple[int, int, int], levels: int, depth: int, hidden: int) -> nn.Module:
    """Build normflows' multi-scale Glow on images as in its own example, without classes.

    Args:
        shape: (C, H, W).
        levels: number of scales.
        depth: couplings per scale.
        hidden: channels of the coupling networks.
    """
    import normflows as nf

    channels, height, width = shape
    bases, flows, merges = [], [], []
    for level in range(levels):  # the deepest first
        halvings = levels - level
        inside = channels * 2 ** (halvings + 1)
        blocks = [nf.flows.GlowBlock(inside, hidden) for _ in range(depth)]
        flows.append([*blocks, nf.flows.Squeeze()])
        leaves = inside if level == 0 else inside // 2
        size = (leaves, height // 2**halvings, width // 2**halvings)
        bases.append(nf.distributions.DiagGaussian(size))
        if level > 0:
            merges.append(nf.flows.Merge())
    return nf.MultiscaleFlow(bases, flows, merges, class_cond=False)
