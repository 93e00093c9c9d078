"""Compilation of a flow, where there is something to compile it with."""

from __future__ import annotations

import torch
from torch import Tensor

from innflow.flow import CouplingFlow
from innflow.progress import announce


def compile_or_say(flow: CouplingFlow, device: torch.device) -> None:
    """Compile a flow in place, or say in one line why it goes on without.

    One small function is compiled first, past all caches: whether a compiler is there, and works,
    shows only then.
    """
    try:
        probe = torch.compile(_probe, options={"force_disable_caches": True})
        probe(torch.zeros(2, device=device))
    except (RuntimeError, ImportError, OSError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "no reason given")
        announce(f"compile=true: no compiler works here, training goes on without one ({reason})")
        return
    flow.compile()


def _probe(x: Tensor) -> Tensor:
    return x.exp() + 1
