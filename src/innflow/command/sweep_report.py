"""innflow-sweep-report: the jobs of a sweep in one table, best first."""

from innflow.run.sweep import report as sweep_report

__all__ = ["sweep_report"]
