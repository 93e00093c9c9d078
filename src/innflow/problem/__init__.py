"""Inverse problems: priors, forward models and draws of their posteriors.

For a new problem, copy `problem/ballistics.py` and replace `prior` and `forward`; `posterior`, the
reference draws, is optional, and so is `NOISE`, the standard deviation of Gaussian noise. Then copy
`conf/data/ballistics.yaml` and change its import paths to the new module.
"""

from innflow.problem.joint import Joint

__all__ = ["Joint"]
