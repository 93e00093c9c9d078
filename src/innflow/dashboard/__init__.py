"""Metrics, figures and tables of a run on W&B, TensorBoard and MLflow."""

from innflow.dashboard.identity import open_dashboards
from innflow.dashboard.publish import close, dashboards_closed, publish, send, shows_pictures
from innflow.dashboard.sink import Picture, Sheet

__all__ = [
    "Picture",
    "Sheet",
    "close",
    "dashboards_closed",
    "open_dashboards",
    "publish",
    "send",
    "shows_pictures",
]
