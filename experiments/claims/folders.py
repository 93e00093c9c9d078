"""Folders of images that are made from others: a general set without some kinds, and so on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from experiments.claims import clothes
from experiments.claims.runs import LEFT_OUT
from innflow.errors import InnflowError
from innflow.system.file.atomic import writing_folder

DATA_SETS = ("cats_ood", "cifar10", "mnist", "tinyimagenet")


def check_data(data: Path) -> None:
    """Refuse a folder that lacks a data set."""
    missing = [name for name in DATA_SETS if not (data / name / "train").is_dir()]
    if missing:
        raise InnflowError(
            f"data={data}: no {missing[0]}/train there: takes the folder that holds "
            f"{', '.join(DATA_SETS)}"
        )


def make_folders(data: Path, made: Path) -> None:
    """Make the folders that are not there yet: general, not_cats and clothes.

    general holds links to the classes of tinyimagenet without `LEFT_OUT`, not_cats those to the
    test images of CIFAR10 but cats.
    """

    def general(folder: Path) -> None:
        kinds = list((data / "tinyimagenet/train").iterdir())
        unknown = sorted(LEFT_OUT - {kind.name for kind in kinds})
        if unknown:
            raise InnflowError(f"data={data}: tinyimagenet/train has no class {unknown[0]}")
        link((kind for kind in kinds if kind.name not in LEFT_OUT), folder / "train")

    def not_cats(folder: Path) -> None:
        link((kind for kind in (data / "cifar10/test").iterdir() if kind.name != "cat"), folder)

    makers: dict[str, Callable[[Path], None]] = {
        "general": general,
        "not_cats": not_cats,
        "clothes": clothes.write,
    }
    for name, make in makers.items():
        if not (made / name).is_dir():
            made.mkdir(parents=True, exist_ok=True)
            with writing_folder(made / name) as folder:
                make(folder)


def link(kinds: Iterable[Path], folder: Path) -> None:
    """Make links to folders, by their names."""
    folder.mkdir(exist_ok=True)
    for kind in kinds:
        (folder / kind.name).symlink_to(kind, target_is_directory=True)
