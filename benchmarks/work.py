"""The workloads: shapes, sizes, and the contenders of each.

A contender is named by its library and its options, for example `nflows bf16 compiled`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

BARE = "bare networks"
BARE_BF16 = "bare networks bf16"
OURS = "innflow"
NFLOWS = "nflows"
NORMFLOWS = "normflows"
FREIA = "FrEIA"
FREIA_ALL = "FrEIA AllInOne"
ZUKO = "zuko"
LIBRARIES = (BARE, OURS, NFLOWS, NORMFLOWS, FREIA_ALL, FREIA, ZUKO)

COMPILED = "compiled"
BF16 = "bf16"
CONTIGUOUS = "contiguous"
REVERSIBLE = "reversible"

BINS, TAIL = 8, 5.0


def split(name: str) -> tuple[str, tuple[str, ...]]:
    """Return the library of a contender and its options.

    >>> split("FrEIA AllInOne bf16 compiled")
    ('FrEIA AllInOne', ('bf16', 'compiled'))
    """
    for library in LIBRARIES:  # the longer of two names that start alike stands first
        if name == library or name.startswith(f"{library} "):
            return library, tuple(name[len(library) :].split())
    raise ValueError(f"{name}: no library of {', '.join(LIBRARIES)}")


def rows(libraries: Sequence[str], options: Sequence[str] = ("", COMPILED)) -> tuple[str, ...]:
    """Return the contenders of each library, once with each of the options."""
    return tuple(f"{library} {option}".strip() for library in libraries for option in options)


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
        device: Device on which the flows run.
    """

    group: str
    coupling: Literal["affine", "spline"]
    shape: tuple[int, ...]
    batch: int
    hidden: int
    contenders: tuple[str, ...]
    depth: int = 8
    device: str = "cpu"

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


_AFFINE = (BARE, *rows((OURS, NFLOWS, NORMFLOWS, FREIA, FREIA_ALL, ZUKO)))
# FrEIA 0.2, the newest release, has no splines.
_SPLINE = (BARE, *rows((OURS, NFLOWS, NORMFLOWS, ZUKO)))

WORKS = (
    Work("affine", "affine", (2,), 256, 64, _AFFINE),
    Work("affine", "affine", (3072,), 64, 512, _AFFINE),
    # AllInOne stores its permutations as dense matrices, which would take 9.7 GB here.
    Work(
        "affine", "affine", (12288,), 64, 512, (BARE, *rows((OURS, NFLOWS, NORMFLOWS, FREIA, ZUKO)))
    ),
    Work("spline", "spline", (2,), 256, 64, _SPLINE),
    Work("spline", "spline", (16,), 256, 64, _SPLINE),
    Work("spline", "spline", (256,), 256, 64, _SPLINE),
    Work("spline_large", "spline", (12288,), 64, 64, (BARE, *rows((OURS, NFLOWS), ("",)))),
)

_IMAGES = (OURS, NFLOWS, NORMFLOWS, FREIA_ALL)  # zuko has flows on vectors only
GLOW = Work(
    "glow",
    "affine",
    (12, 16, 16),
    64,
    128,
    (
        *rows((BARE,), ("", BF16, CONTIGUOUS)),
        *rows(_IMAGES, ("", COMPILED, BF16, f"{BF16} {COMPILED}", CONTIGUOUS)),
    ),
)
SAMPLING = Work(
    "sampling", "affine", GLOW.shape, 64, 128, rows(_IMAGES, ("", COMPILED, BF16, CONTIGUOUS))
)

_MEMORY = (OURS, f"{OURS} {REVERSIBLE}", NFLOWS, NORMFLOWS, FREIA_ALL)
MEMORY = (
    Work("memory", "affine", (256,), 256, 64, _MEMORY),
    Work("memory", "affine", (12, 16, 16), 16, 64, _MEMORY),
)
