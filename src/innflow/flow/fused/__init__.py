"""Fast implementations of layers, with the results of the plain layers.

`forward` and `inverse` are the only entry. They run a group of neighbouring layers by a fast
implementation where one exists for exactly these layers, and the layers themselves otherwise.
`benchmarks/fused.md` lists what each one gains.
"""

from innflow.flow.fused.dispatch import forward, inverse

__all__ = ["forward", "inverse"]
