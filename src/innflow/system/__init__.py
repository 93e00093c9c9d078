"""Files, ranks, Slurm jobs, secrets and progress bars."""

from innflow.system.lazy import lazy_exports

__all__ = ["SweepEnd"]

__getattr__ = lazy_exports(
    __name__,
    {
        "SweepEnd": "innflow.system.failure",
    },
)
