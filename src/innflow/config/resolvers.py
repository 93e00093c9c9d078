"""OmegaConf resolvers: `${stamp:}`, `${lightning_precision:...}` and others."""

import os
from datetime import datetime
from importlib.util import find_spec
from typing import Any

from omegaconf import OmegaConf

from innflow.errors import InnflowError

STAMP = "INNFLOW_STAMP"
"""Environment variable with the time at which a command started."""


def register_resolvers() -> None:
    """Register all resolvers with OmegaConf; idempotent."""
    for resolver in (stamp, lightning_precision, fits_fused, slurm_gpus, if_set, if_installed):
        OmegaConf.register_new_resolver(resolver.__name__, resolver, replace=True)


def stamp() -> str:
    """Return the time at which this command started, also in the processes that it starts."""
    return os.environ.setdefault(STAMP, time_of_day())


def time_of_day() -> str:
    """Return the time to the microsecond, as the name of a folder that no other process chooses.

    >>> len(time_of_day())
    26
    """
    return datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")


def lightning_precision(precision: int | str) -> str:
    """Translate a precision to Lightning's name for it.

    Only coupling networks run in bfloat16: the trunk of a flow, its log-determinants and its
    latents stay in float32.

    Args:
        precision: 32, bf16, or native: bf16 where the hardware multiplies it, else 32.

    >>> lightning_precision("bf16")
    'bf16-mixed'
    """
    if str(precision) not in ("32", "bf16", "native"):
        raise InnflowError(f"precision={precision} is unknown: must be 32, bf16 or native")
    if str(precision) == "native":
        precision = "bf16" if _multiplies_bfloat16() else 32
    return "bf16-mixed" if precision == "bf16" else "32-true"


def fits_fused(precision: int | str) -> bool:
    """Return whether Lightning can clip gradients of a fused optimizer: not in mixed precision."""
    return "mixed" not in str(precision)


def slurm_gpus(accelerator: str, devices: Any) -> Any:
    """Return the number of GPUs of a Slurm job on each node: its devices, or None on CPUs."""
    return None if accelerator == "cpu" else devices


def if_set(value: Any, then: Any, otherwise: Any) -> Any:
    """Return one value of a config where another is set, and a different one where it is null.

    >>> if_set(None, "photographs", "drawings")
    'drawings'
    """
    return otherwise if value is None else then


def if_installed(package: str, then: Any, otherwise: Any) -> Any:
    """Return one value of a config where a package is installed, and a different one elsewhere.

    >>> if_installed("torch", "with torch", "without")
    'with torch'
    """
    return otherwise if find_spec(package) is None else then


def _multiplies_bfloat16() -> bool:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())
