"""How each contender of `benchmarks.quality` is trained: all alike, or each by its own settings."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from benchmarks.work import FREIA_ALL, NFLOWS, NORMFLOWS, OURS, split
from innflow.config.build import compose_config, to_plain
from innflow.config.resolvers import register_resolvers


@dataclass(frozen=True)
class Settings:
    """Sizes of the Glow and its training.

    Attributes:
        optimizer: Name of a class in `torch.optim`.
        options: Its arguments.
        warmup: Share of the time in which the learning rate rises.
        final: Factor on the learning rate at the end of half a cosine; 1 for a constant rate.
        clip: Largest norm of the gradient of the loss in nats per dimension; 0 for no clipping.
        source: Where the settings come from.
    """

    depth: tuple[int, ...] = (8, 8, 8)
    hidden: tuple[int, ...] = (64, 64, 64)
    batch: int = 64
    flip: bool = True
    optimizer: str = "Adam"
    options: dict[str, Any] = field(default_factory=lambda: {"lr": 1e-3})
    warmup: float = 0.02
    final: float = 0.0
    clip: float = 1.0
    bf16: bool = False
    channels_last: bool = True
    haar: bool = False
    source: str = "the same for all"


EQUAL = Settings()
_PLAIN = replace(EQUAL, warmup=0.0, clip=0.0, channels_last=False)
OWN = {
    NFLOWS: replace(
        _PLAIN,
        options={"lr": 5e-4},
        source="experiments/images.py of Neural Spline Flows (arXiv:1906.04032), from which nflows "
        "came; there batches of 256 or more and wider networks",
    ),
    NORMFLOWS: replace(
        _PLAIN,
        optimizer="Adamax",
        options={"lr": 1e-3, "weight_decay": 1e-5},
        final=1.0,
        source="examples/glow.ipynb of normflows; there 16 steps a level, 256 channels and batches "
        "of 128",
    ),
    FREIA_ALL: replace(
        _PLAIN,
        final=1.0,
        haar=True,
        source="quick start of FrEIA's documentation: AllInOneBlock with permute_soft, Adam 1e-3; "
        "Haar wavelets as in its convolutional networks",
    ),
}
"""Optimizer, schedule and clipping of each library's own example. Sizes and batch are those of the
equal settings, as the examples are for GPUs."""


@cache
def cats_glow() -> Settings:
    """Return the settings of innflow's experiment cats_glow, from its config."""
    register_resolvers()
    words = ["+experiment=cats_glow", "data.root=.", "run_dir=."]
    config = to_plain(compose_config("train", words))
    model, optimizer, schedule = config["model"], dict(config["optimizer"]), config["schedule"]
    name = optimizer.pop("_target_").rpartition(".")[2]
    for key in ("_partial_", "fused"):
        optimizer.pop(key, None)
    return Settings(
        depth=tuple(model["depth"]),
        hidden=tuple(model["hidden"]),
        batch=config["data"]["batch_size"],
        flip=config["data"]["augment"] == ["flip"],
        optimizer=name,
        options=optimizer,
        warmup=schedule["warmup"],
        final=schedule["final"],
        clip=config["trainer"]["gradient_clip_val"],
        bf16=str(config["trainer"]["precision"]).startswith("bf16"),
        source="conf/experiment/cats_glow.yaml, chosen on the validation set of these cats",
    )


def settings_of(kind: str, name: str) -> Settings:
    """Return the settings of a contender, for kind equal or own."""
    library, _ = split(name)
    if kind == "equal":
        return EQUAL
    return cats_glow() if library == OURS else OWN[library]
