"""Compilation of a flow, where there is something to compile it with."""

from __future__ import annotations

import secrets

import torch

from innflow.flow import CouplingFlow
from innflow.system.progress import announce


def compile_or_say(flow: CouplingFlow, device: torch.device) -> None:
    """Compile a flow in place, or say in one line why it goes on without.

    One small function is compiled first: whether a compiler is there, and works, shows only then.
    """
    from torch._dynamo.exc import BackendCompilerFailed  # takes a second

    # A number that no cache has seen: a kernel that lies there says nothing about the compiler.
    salt = secrets.randbelow(2**20)
    try:
        torch.compile(lambda x: x.exp() + salt)(torch.zeros(2, device=device))
    except BackendCompilerFailed as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "no reason given")
        announce(
            f"compile=true: no compiler works here ({reason[:200]}); training goes on without one"
        )
        return
    flow.compile()
