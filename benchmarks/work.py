"""The workloads: shapes, sizes, and the contenders of each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

BARE = "bare networks"
BARE_BF16 = "bare networks bf16"
OURS = "innflow"
COMPILED = "innflow compiled"
BF16 = "innflow bf16"
BF16_COMPILED = "innflow bf16 compiled"
REVERSIBLE = "innflow reversible"
NFLOWS = "nflows"
NORMFLOWS = "normflows"
FREIA = "FrEIA"
FREIA_ALL = "FrEIA AllInOne"
ZUKO = "zuko"

BINS, TAIL = 8, 5.0


@dataclass(frozen=True)
class Work:
    """One flow and one batch, the same for all contenders.

    Attributes:
        group: Name of the group in `only=`.
        coupling: Kind of coupling.
        shape: Shape of one item, (D,) or (C, H, W).
        batch: Items in a batch.
        hidden: Width of the two hidden layers of a coupling network, or its channels.
        contenders: Names of the contenders.
        depth: Number of couplings.
    """

    group: str
    coupling: Literal["affine", "spline"]
    shape: tuple[int, ...]
    batch: int
    hidden: int
    contenders: tuple[str, ...]
    depth: int = 8

    @property
    def is_image(self) -> bool:
        """Whether items are images and the flow is a Glow."""
        return len(self.shape) == 3

    @property
    def dims(self) -> int:
        """Number of dimensions of an item."""
        return math.prod(self.shape)

    @property
    def head(self) -> tuple[int, int]:
        """Input and output features (or channels) of a coupling network."""
        changed = self.shape[0] // 2
        return self.shape[0] - changed, changed * (2 if self.coupling == "affine" else 3 * BINS - 1)

    def __str__(self) -> str:
        """Return the title of the table."""
        if self.is_image:
            what = f"Glow, images of {'x'.join(map(str, self.shape))}"
        else:
            bins = f" ({BINS} bins)" if self.coupling == "spline" else ""
            what = f"{self.coupling}{bins}, vectors of {self.dims:,}"
        return f"{what}, batch {self.batch}, hidden {self.hidden}, {self.depth} couplings"


_VECTORS = (BARE, OURS, COMPILED, NFLOWS, NORMFLOWS)

WORKS = (
    Work("affine", "affine", (2,), 256, 64, (*_VECTORS, FREIA, FREIA_ALL, ZUKO)),
    Work("affine", "affine", (3072,), 64, 512, (*_VECTORS, FREIA, FREIA_ALL, ZUKO)),
    # AllInOne stores its permutations as dense matrices, which would take 9.7 GB here.
    Work("affine", "affine", (12288,), 64, 512, (*_VECTORS, FREIA, ZUKO)),
    # FrEIA 0.2, the newest release, has no splines.
    Work("spline", "spline", (2,), 256, 64, (*_VECTORS, ZUKO)),
    Work("spline", "spline", (16,), 256, 64, (*_VECTORS, ZUKO)),
    Work("spline", "spline", (256,), 256, 64, (*_VECTORS, ZUKO)),
    Work("spline_large", "spline", (12288,), 64, 64, (BARE, OURS, COMPILED, NFLOWS)),
)

GLOW = Work(
    "glow",
    "affine",
    (12, 16, 16),
    64,
    128,
    # zuko has flows on vectors only.
    (
        *(BARE, BARE_BF16, OURS, COMPILED, BF16, BF16_COMPILED),
        *(NFLOWS, NORMFLOWS, FREIA_ALL),
    ),
)

_MEMORY = (OURS, REVERSIBLE, NFLOWS, NORMFLOWS)
MEMORY = (
    Work("memory", "affine", (256,), 256, 64, _MEMORY),
    Work("memory", "affine", (12, 16, 16), 16, 64, _MEMORY),
)
