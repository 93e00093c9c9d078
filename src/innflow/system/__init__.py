"""Files, ranks, Slurm jobs, secrets and progress bars."""

from innflow.system.failure import SweepEnd

__all__ = ["SweepEnd"]
