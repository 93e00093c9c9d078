"""Variants of a flow of any library: bf16 networks, memory format, compiled."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from innflow.flow import CouplingFlow

CHECK_EVERY = 5.0
"""Seconds after which an expired time limit raises again, should the first error be caught."""


class NotCompiledError(Exception):
    """A flow that does not compile; the message is the reason in a few words."""


class Bf16(nn.Module):
    """A coupling network under bf16 autocast: input and output keep their precision."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.active = True

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map x to the output of the network, in the precision of x."""
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.active):
            return self.net(x).to(x.dtype)


class Wrapped(nn.Module):
    """A flow whose two directions are called through `around`."""

    def __init__(self, flow: Any) -> None:
        super().__init__()
        self.flow = flow

    def around(self, call: Callable[[Tensor], Any], x: Tensor) -> tuple[Tensor, Tensor]:
        """Return call(x)."""
        return call(x)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map data (B, *shape) to the latent and logabsdet (B,)."""
        return self.around(self.flow, x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map a latent to data (B, *shape) and logabsdet (B,)."""
        return self.around(self.flow.inverse, z)


class Autocast(Wrapped):
    """A flow of innflow under bf16 autocast, which it applies to coupling networks only."""

    def around(self, call: Callable[[Tensor], Any], x: Tensor) -> tuple[Tensor, Tensor]:
        """Return call(x) under autocast."""
        with torch.autocast(x.device.type, torch.bfloat16):
            return call(x)


class ChannelsLast(Wrapped):
    """A flow whose weights and images have their channels last in memory."""

    def __init__(self, flow: Any) -> None:
        super().__init__(flow.to(memory_format=torch.channels_last))

    def around(self, call: Callable[[Tensor], Any], x: Tensor) -> tuple[Tensor, Tensor]:
        """Return call(x) for an image x, channels last; a flat latent stays as it is."""
        if x.dim() == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        return call(x)


class PlainLayers(Wrapped):
    """The layers of a flow of innflow with one level, without its fast implementations.

    These put the channels of images last; the layers keep the memory format of the input.
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map data (B, *shape) to the latent and logabsdet (B,)."""
        z, logabsdet = self.flow.levels[0](x)
        return z.flatten(1), logabsdet

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map a latent to data (B, *shape) and logabsdet (B,)."""
        return self.flow.levels[0].inverse(z.unflatten(1, self.flow.latent_shapes[0]))


class Compiled(Wrapped):
    """A flow with both directions compiled; parts that cannot be compiled run as they are."""

    def __init__(self, flow: Any) -> None:
        super().__init__(flow)
        self.calls = {
            "forward": torch.compile(flow.forward),
            "inverse": torch.compile(flow.inverse),
        }

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map data (B, *shape) to the latent and logabsdet (B,)."""
        return self.calls["forward"](x)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map a latent to data (B, *shape) and logabsdet (B,)."""
        return self.calls["inverse"](z)


def compile_flow(flow: nn.Module) -> nn.Module:
    """Return a flow with both directions compiled: innflow's by its own method."""
    own = [module for module in flow.modules() if isinstance(module, CouplingFlow)]
    if not own:
        return Compiled(flow)
    own[0].compile()
    return flow


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeoutError` in the block after some seconds; main thread only."""

    def expire(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, expire)
    signal.setitimer(signal.ITIMER_REAL, seconds, CHECK_EVERY)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def compile_within(
    flow: nn.Module, x: Tensor, run: Callable[[nn.Module], object], seconds: float
) -> nn.Module:
    """Compile a flow, run it, and compare its log-determinants with those of the flow as it was.

    Args:
        flow: Any flow that maps x to a latent and logabsdet (B,).
        x: Data (B, *shape).
        run: Called with the compiled flow, so that all that is measured later is compiled.
        seconds: Time limit.

    Raises:
        NotCompiledError: if it fails, takes longer, or gives other log-determinants.
    """
    with torch.no_grad():
        flow(x)  # initialises the ActNorms of peers
        expected = flow(x)[1]
    try:
        with time_limit(seconds):
            compiled = compile_flow(flow)
            run(compiled)
            with torch.no_grad():
                found = compiled(x)[1]
    except TimeoutError:
        raise NotCompiledError(f"takes more than {seconds:.0f} s") from None
    except Exception as error:
        line = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "TimeoutError" in f"{type(error).__name__} {error}":
            line = f"takes more than {seconds:.0f} s"
        raise NotCompiledError(line[:80]) from error
    if not torch.allclose(found, expected, rtol=1e-2, atol=0.5):
        worst = float((found - expected).abs().max())
        raise NotCompiledError(f"log-determinants differ by {worst:.2g}")
    return compiled
