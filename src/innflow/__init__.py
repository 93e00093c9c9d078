"""innflow: invertible neural networks with PyTorch Lightning and Hydra.

    flow = innflow.flow.vector(2, coupling="spline")
    app = innflow.load("outputs/cats_ood/2026-01-31_12-00-00")

An application is a bijection between named parts on two sides, with a density for each part on the
right.
"""

from importlib.metadata import version
from typing import TYPE_CHECKING

from innflow.system.importing import lazy_exports

if TYPE_CHECKING:
    from innflow import flow, pretrained
    from innflow.errors import InnflowError
    from innflow.flow import CouplingFlow
    from innflow.latent.density import Latent
    from innflow.objective.base import Objective
    from innflow.partition import Partition
    from innflow.run.load import load

__version__ = version("innflow")
__all__ = [
    "CouplingFlow",
    "InnflowError",
    "Latent",
    "Objective",
    "Partition",
    "flow",
    "load",
    "pretrained",
]

# On first use, so that `innflow-train --help` needs no torch.
__getattr__ = lazy_exports(
    __name__,
    {
        "CouplingFlow": "innflow.flow",
        "InnflowError": "innflow.errors",
        "Latent": "innflow.latent",
        "Objective": "innflow.objective.base",
        "Partition": "innflow.partition",
        "flow": "innflow.flow",
        "load": "innflow.run.load",
        "pretrained": "innflow.pretrained",
    },
)
