"""Inverse problems: priors, forward models and draws of their posteriors.

For a new problem, copy `problem/ballistics.py`, replace `prior` and `forward`, and keep `NOISE` and
`posterior` only if the problem has them. Then copy `conf/data/ballistics.yaml` under a new name and
let its import paths name the new module.
"""

from innflow.problem.joint import Joint

__all__ = ["Joint"]
