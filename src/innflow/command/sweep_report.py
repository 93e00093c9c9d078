"""innflow-sweep-report: the jobs of a sweep in one table, best first."""

from innflow.run.report.sweep_report import report as sweep_report

__all__ = ["sweep_report"]
