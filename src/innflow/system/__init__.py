"""Files, ranks, Slurm jobs, secrets and progress bars."""

from innflow.system.failed_jobs import SweepEnd

__all__ = ["SweepEnd"]
