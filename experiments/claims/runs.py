"""The training runs of all claims: overrides of `innflow-train`, with steps and minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Kinds of the outliers of cats_ood, and cats: left out of the general set.
OUTLIER_KINDS = {
    "dogs": ("n02085620", "n02099601", "n02106662", "n02113799"),
    "cats and kin": ("n02123394", "n02125311", "n02129165"),
    "mushroom": ("n07734744",),
    "pizza": ("n07873807",),
    "ball": ("n04540053",),
}
# Kinds of the ten classes of CIFAR10 beside these: left out as well, by their wordnet names.
CIFAR10_KINDS = {
    "airplane": ("n04008634",),  # projectile
    "automobile": ("n02814533", "n03670208", "n03444034"),  # beach wagon, limousine, go-kart
    "bird": ("n02002724", "n02056570"),  # black stork, king penguin
    "deer": ("n02423022",),  # gazelle
    "frog": ("n01644900",),  # tailed frog
    "ship": ("n03662601",),  # lifeboat
    "truck": ("n04465501", "n04487081", "n03393912"),  # tractor, trolleybus, freight car
}
LEFT_OUT = frozenset(
    name for kinds in (OUTLIER_KINDS, CIFAR10_KINDS) for names in kinds.values() for name in names
)
CLASSES = ("airplane", "automobile")
"""Inlier classes of CIFAR10 in the claims on one class: the first two of the alphabet."""


@dataclass(frozen=True)
class Run:
    """One training run of each seed.

    Attributes:
        name: Of the run and of its folder.
        overrides: Of innflow-train, with {data}, {made} and {run:NAME} for folders.
        steps: Of the optimiser.
        minutes: Of training and analyses, expected on one core.
        needs: Names of the runs that must be finished before.
    """

    name: str
    overrides: tuple[str, ...]
    steps: int
    minutes: float
    needs: tuple[str, ...] = ()

    def arguments(
        self, folders: Mapping[str, Path], seed: int, limit: float | None = None
    ) -> list[str]:
        """Return the arguments of innflow-train but for the folder of the run.

        Args:
            folders: "data", "made" and "run:NAME" of each run that is needed -> folder.
            seed: Of the run.
            limit: Minutes of training, for a trial; by default the steps alone limit it.
        """
        quoted = {key: quote(str(path)) for key, path in folders.items()}
        texts = list(self.overrides)
        for key, path in quoted.items():
            texts = [text.replace(f"{{{key}}}", path) for text in texts]
        time = "null" if limit is None else f"'{as_time(limit)}'"
        limits = [f"trainer.max_steps={self.steps}", f"trainer.max_time={time}"]
        return [*texts, *limits, f"seed={seed}"]


def quote(text: str) -> str:
    """Return text as it stands between the single quotes of an override of Hydra."""
    return text.replace("\\", "\\\\").replace("'", r"\'")


def as_time(minutes: float) -> str:
    """Return minutes as days:hours:minutes:seconds."""
    seconds = max(1, round(60 * minutes))
    return f"00:{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


# A smaller Glow than that of conf/model, for runs of a few minutes.
GLOW = ("model.depth=[8,4,4]", "model.hidden=[64,96,128]")
NUMBERS_ONLY = (
    *("analysis.samples=null", "analysis.interpolation=null", "analysis.latent_cloud=null"),
    "analysis.roundtrip=null",
)
OFTEN = ("trainer.val_check_interval=50",)  # for learning curves
PHASES = (
    "+analysis.amplitude_phase._target_=innflow.analysis.AmplitudePhase",
    "+analysis.amplitude_phase.pairs=200",
    "+analysis.amplitude_phase.steps=2",
)
CATS = (
    *("data=images", "data.root='{data}/cats_ood'", "data.size=32", "data.batch_size=32"),
    *("data.augment=[flip]", *GLOW, *NUMBERS_ONLY),
    *("+data.outliers.cifar10='{made}/not_cats'", "+data.outliers.mnist='{data}/mnist'"),
)
GENERAL = ("companions.general='{run:general}'",)
CIFAR10 = ("+experiment=ood_cifar10", "data.root='{data}/cifar10'", *GLOW, *NUMBERS_ONLY, *GENERAL)
CLOTHES = (
    *("+experiment=ood_fashion", "data=images", "data.root='{made}/clothes'", "data.size=28"),
    *("data.channels=1", "data.batch_size=32", *NUMBERS_ONLY),
    *("data.outliers=null", "+data.outliers.mnist='{data}/mnist'"),  # null: it was a list
)
MASKED = (*CLOTHES, "model=masked")
BOTTLENECK = ("subnet@model.subnet=autoencoder", "model.subnet.bottleneck=10")
ARM = ("+experiment=inverse_kinematics", "analysis.posterior.observations=5")


def one_class(name: str) -> tuple[Run, Run]:
    """Return the runs on one class of CIFAR10, without and with the outlier loss."""
    common = (*CIFAR10, f"data.inliers=[{name}]", "trainer.val_check_interval=100")
    loss = ("objective=outlier", "data.general='{made}/general'")
    return (
        Run(name, common, 500, 2.0, ("general",)),
        Run(f"{name}_outlier_loss", (*common, *loss), 500, 4.0, ("general",)),
    )


RUNS: Sequence[Run] = (
    Run(
        "general",
        ("+experiment=general", "data.root='{made}/general'", *GLOW, "analysis.roundtrip=null"),
        1200,
        4.5,
    ),
    Run(
        "cats_scratch",
        ("+experiment=cats_ood", "companions.general=null", *CATS, "score=ood", *OFTEN, *PHASES),
        1200,
        5.0,
    ),
    Run(
        "cats",
        ("+experiment=cats_ratio", "objective=nll", *CATS, *GENERAL, *OFTEN),
        1200,
        5.5,
        ("general",),
    ),
    Run(
        "cifar10",
        (
            *CIFAR10,
            "+data.outliers.general='{made}/general'",
            "+data.outliers.cats='{data}/cats_ood'",
            "+data.outliers.mnist='{data}/mnist'",
            *PHASES,
        ),
        1200,
        5.5,
        ("general",),
    ),
    *(run for name in CLASSES for run in one_class(name)),
    Run(
        "clothes_glow",
        (*CLOTHES, "model.levels=2", "model.depth=[8,4]", "model.hidden=64"),
        800,
        2.5,
    ),
    Run("clothes_dense", (*CLOTHES, "model=glow_dense"), 800, 1.5),
    Run("clothes_checkerboard", (*MASKED, "model.masks=checkerboard"), 800, 2.5),
    Run(
        "clothes_checkerboard_bottleneck",
        (*MASKED, "model.masks=checkerboard", *BOTTLENECK),
        800,
        15,
    ),
    Run("clothes_cycle_bottleneck", (*MASKED, "model.masks=cycle", *BOTTLENECK), 800, 18),
    Run(
        "cats_features",
        (
            *("+experiment=cats_embeddings", "data.root='{data}/cats_ood'"),
            *("score.scores.mahalanobis.components=null", "study.train_limit=6000"),
        ),
        400,
        1.5,
    ),
    Run("arm_mmd", (*ARM, "partition=x_yz", "objective=mmd"), 2000, 4.5),
    Run("arm_likelihood", ARM, 2000, 4.0),
    Run("traveltime_noise", ("+experiment=traveltime_noise",), 3000, 2.5),
    Run(
        "traveltime_ignored",
        ("+experiment=traveltime_noise", "partition=x_yz", "partition.right.z=16"),
        3000,
        2.5,
    ),
    Run(
        "traveltime_context",
        ("+experiment=traveltime_noise", "partition=given_y", "model.align=false"),
        3000,
        2.5,
    ),
)
BY_NAME = {run.name: run for run in RUNS}


def needed(names: Sequence[str]) -> list[Run]:
    """Return runs by name with all that they need, in the order of `RUNS`."""
    wanted, waiting = set[str](), list(names)
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += BY_NAME[name].needs
    return [run for run in RUNS if run.name in wanted]
