"""The choice of an embedding by the shape of y, and embeddings of several parts of y."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from innflow.errors import InnflowError
from innflow.flow.network.base import fix
from innflow.flow.network.embedding import Embedding, Observed, SetEmbedding
from innflow.flow.network.grid_embedding import ImageEmbedding, SeriesEmbedding

Kind = Literal["auto", "none", "set", "series", "image"]


class PartsEmbedding(Embedding):
    """Several kinds of data at once: the parts of y, one after another, and their embeddings.

    Args:
        shape: (M,).
        missing: whether values may be missing.
        parts: name -> shape of the part, or {shape, kind} with a kind of `embed`; in the order of
            the values of y.

    Raises:
        InnflowError: if the parts have another number of values together than y.

    Example:
        >>> parts = {"light": [20, 1], "ages": {"shape": [4, 2], "kind": "set"}, "size": [3]}
        >>> PartsEmbedding((31,), parts=parts)(torch.randn(2, 31)).shape
        torch.Size([2, 56])
    """

    def __init__(
        self, shape: Sequence[int], missing: bool = False, *, parts: Mapping[str, Any]
    ) -> None:
        inner: dict[str, Embedding] = {}
        for name, part in parts.items():
            given = dict(part) if isinstance(part, Mapping) else {"shape": part}
            if set(given) - {"shape", "kind"} or "shape" not in given:
                raise InnflowError(f"embedding.parts.{name}={part}: give its shape and its kind")
            own, kind = given["shape"], given.get("kind", "auto")
            inner[name] = embed(own, missing, kind=kind) or Observed(own, missing)
        super().__init__(shape, sum(one.features for one in inner.values()), missing)
        self.sizes = [math.prod(one.shape) for one in inner.values()]
        if sum(self.sizes) != math.prod(shape):
            raise InnflowError(
                f"embedding.parts have {sum(self.sizes)} values together, y has {math.prod(shape)}"
            )
        self.parts = nn.ModuleDict(inner)
        pieces: list[Tensor] = []
        for one in inner.values():  # numbered through all parts
            pieces.append(one.channels + (int(pieces[-1].max()) + 1 if pieces else 0))
        self.channels = torch.cat(pieces)

    def forward(self, y: Tensor) -> Tensor:
        """Return the joined contexts of all parts, (B, features)."""
        pairs = zip(self.parts.values(), y.split(self.sizes, dim=1), strict=True)
        return torch.cat([one(piece) for one, piece in pairs], dim=1)

    def summarize(self, y: Tensor) -> Tensor:
        """Return the joined statistics of all parts, (B, K)."""
        pairs: Any = zip(self.parts.values(), y.split(self.sizes, dim=1), strict=True)
        return torch.cat([one.summarize(piece) for one, piece in pairs], dim=1)


def embed(
    shape: Sequence[int], missing: bool = False, trials: bool = False, kind: Kind = "auto"
) -> Embedding | None:
    """Return the embedding of a kind; None where the vector itself is the context.

    The kind `auto` is chosen by the shape: a vector (M,) has none, `missing` adds its mask; (T, C)
    is a series, or a set where the rows are `trials`; (C, H, W) is an image.

    Raises:
        InnflowError: if the kind is unknown, or does not fit the shape.
    """
    kinds: dict[str, Any] = {
        "set": SetEmbedding,
        "series": SeriesEmbedding,
        "image": ImageEmbedding,
    }
    if kind == "auto":
        names = {1: "none", 2: "set" if trials else "series", 3: "image"}
        if len(shape) not in names:
            raise InnflowError(f"embedding=auto: y has the shape {tuple(shape)}: choose another")
        kind = names[len(shape)]  # type: ignore[assignment]
    if kind == "none":
        return Observed(shape) if missing else None
    if kind not in kinds:
        raise InnflowError(f"embedding: kind={kind}: must be auto, none, {', '.join(kinds)}")
    return cast(Embedding, fix(kinds[kind], missing=missing)(shape))
