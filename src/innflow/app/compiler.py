"""Compilation of a flow with torch.compile, where a compiler works."""

import secrets

import torch

from innflow.flow import CouplingFlow
from innflow.system.progress import announce


def compile_flow(flow: CouplingFlow, device: torch.device) -> None:
    """Compile a flow in place, or print why it is not compiled.

    A small function is compiled first, to test whether a compiler works.
    """
    from torch._dynamo.exc import BackendCompilerFailed  # takes a second

    # A random constant misses the kernel cache, so that the compiler runs.
    salt = secrets.randbelow(2**20)
    try:
        torch.compile(lambda x: x.exp() + salt)(torch.zeros(2, device=device))
    except BackendCompilerFailed as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), "no reason given")
        announce(
            f"compile=true: no compiler works here ({reason[:200]}); training continues without"
        )
        return
    flow.compile()
