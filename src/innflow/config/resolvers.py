"""Functions that values of configs call: `${stamp:}`, `${lightning_precision:...}`."""

from __future__ import annotations

import os
import time
from typing import Any

from omegaconf import OmegaConf

from innflow.errors import InnflowError

STAMP = "INNFLOW_STAMP"


def register_resolvers() -> None:
    """Make the functions that values of configs call known to OmegaConf; idempotent."""
    OmegaConf.register_new_resolver("stamp", stamp, replace=True)
    OmegaConf.register_new_resolver("lightning_precision", lightning_precision, replace=True)
    OmegaConf.register_new_resolver("fits_fused", fits_fused, replace=True)
    OmegaConf.register_new_resolver("slurm_gpus", slurm_gpus, replace=True)


def stamp() -> str:
    """Return the time at which this command began, the same in processes that it starts."""
    return os.environ.setdefault(STAMP, time.strftime("%Y-%m-%d_%H-%M-%S"))


def lightning_precision(precision: int | str) -> str:
    """Return Lightning's name of a precision.

    Only coupling networks run in bfloat16: the trunk of a flow, its log-determinants and its
    latents stay in float32.

    Args:
        precision: 32, bf16, or native: bf16 where the hardware multiplies it, else 32.
    """
    if str(precision) not in ("32", "bf16", "native"):
        raise InnflowError(f"precision={precision} is unknown: takes 32, bf16 or native")
    if str(precision) == "native":
        precision = "bf16" if _multiplies_bfloat16() else 32
    return "bf16-mixed" if precision == "bf16" else "32-true"


def fits_fused(precision: int | str) -> bool:
    """Return whether a fused optimizer fits one of Lightning's precisions: no mixed one."""
    return "mixed" not in str(precision)


def slurm_gpus(accelerator: str, devices: Any) -> Any:
    """Return how many GPUs a job of Slurm asks for on each node: a device is one, unless a CPU."""
    return None if accelerator == "cpu" else devices


def _multiplies_bfloat16() -> bool:
    import torch

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)())
