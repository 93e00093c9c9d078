"""Tasks of the sbi benchmark that are not in `innflow.problem`: a prior and a forward model each.

Source: Lueckmann et al., "Benchmarking simulation-based inference" (arXiv:2101.04653). The
constants of `bernoulli_glm` and `slcp_distractors` are files of the benchmark; the environment
variable SBIBM names their folder.
"""

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def load_constants(name: str) -> dict[str, Tensor]:
    """Return the arrays of SBIBM/name.npz."""
    with np.load(Path(os.environ["SBIBM"]) / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}
