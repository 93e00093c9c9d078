"""Dashboards: what the run folder gets, W&B, TensorBoard and MLflow get too."""

from innflow.dashboard.memory import open_dashboards
from innflow.dashboard.publish import close, dashboards_closed, publish, send
from innflow.dashboard.sink import Picture, Sheet, shows_pictures

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
