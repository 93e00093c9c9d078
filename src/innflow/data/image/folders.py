"""How a folder tree of images divides into train, val, test and outliers."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from innflow.data.sets import share_of_test
from innflow.errors import InnflowError

LAYOUT = "expected ROOT/train/<class>/... and ROOT/test/<class>/..."


class Folders:
    """The split and the class of each image of a tree.

    Args:
        root: Of the tree, for messages.
        paths: Of the images below the root.
        inliers: Classes to train on; all in train/ by default.
        labels: Whether the inliers have labels. A tree without train/, val/ and test/ then consists
            of class folders; without labels all its images are inliers.

    Attributes:
        classes: The inlier classes in alphabetical order.
        tested: Folder of the test set: "test", or "val" where there is no test/.
        test_share: Fraction of the training images that is the test set, where none is given.
        used: Whether each image is used at all.
        notes: Lines for the user about what is unusual in the tree.

    Raises:
        InnflowError: There is no train/ next to val/ or test/, an inlier class has no images, or
            labels are missing.
    """

    def __init__(
        self, root: str, paths: Sequence[str], inliers: Sequence[str] | None, labels: bool
    ) -> None:
        self.root = root
        places = [_place(path) for path in paths]
        splits = {split for split, _ in places} & {"train", "val", "test"}
        self.tested = "val" if "val" in splits and "test" not in splits else "test"
        if splits and "train" not in splits:
            raise InnflowError(f"{root} has {self.tested}/ but no train/ with images: {LAYOUT}")
        if not splits:
            places = [("train", kind if labels else "") for kind, _ in places]
        self._rows: dict[tuple[str, str], list[int]] = defaultdict(list)
        for row, place in enumerate(places):
            self._rows[place].append(row)
        found = {kind for split, kind in self._rows if split == "train"}
        self.classes = sorted(set(inliers or found))
        if labels:
            self._check_labels(found, bool(inliers))
        missing = sorted(set(self.classes) - found)
        if missing:
            known = ", ".join(sorted(found - {""}))
            choice = f"choose from {known}" if known else LAYOUT
            raise InnflowError(f"data.inliers: no images in {root}/train/{missing[0]}: {choice}")
        self.used = [
            split in ("train", self.tested) or (split == "val" and kind in self.classes)
            for split, kind in places
        ]
        strangers = sum(
            split == "val" and not used for (split, _), used in zip(places, self.used, strict=True)
        )
        # Where classes are told apart, no p-values are calibrated.
        self.test_share = 0.1 if labels else share_of_test(len(self.rows("train")))
        self.notes = self._notes(splits, strangers, self.used.count(False) - strangers)

    def rows(self, split: str, classes: Iterable[str] | None = None) -> Tensor:
        """Return the rows of some classes in train/, val/ or test/, by default of the inliers."""
        chosen = self.classes if classes is None else classes
        rows = (row for kind in chosen for row in self._rows.get((split, kind), []))
        return torch.tensor(sorted(rows), dtype=torch.long)

    def outliers(self) -> dict[str, Tensor]:
        """Return the rows of each other class in the folder of the test set."""
        others = {kind for split, kind in self._rows if split == self.tested} - set(self.classes)
        for name in others & {"", "train", "val", "test"}:
            raise InnflowError(
                f"{self.root}/{self.tested}/{name}: outliers need a folder of their own, "
                "by another name than train, val or test"
            )
        return {name: self.rows(self.tested, [name]) for name in sorted(others)}

    def labels(self) -> Tensor:
        """Return the position of each image's class in `classes`, -1 for other classes."""
        total = sum(len(rows) for rows in self._rows.values())
        labels = torch.full((total,), -1)
        for (_, kind), rows in self._rows.items():
            if kind in self.classes:
                labels[rows] = self.classes.index(kind)
        return labels

    def _check_labels(self, found: set[str], chosen: bool) -> None:
        """Refuse inliers that have no class folder, or a class without images."""
        if not chosen and "" in found:
            raise InnflowError(
                f"labels missing: {self.root} has training images in no class folder: {LAYOUT}"
            )
        for split in ("train", self.tested):
            if not any(split == other for other, _ in self._rows):
                continue
            for kind in self.classes:
                if (split, kind) not in self._rows:
                    folder = f"{self.root}/{split}/{kind}"
                    raise InnflowError(f"labels missing for class {kind}: {folder} has no images")
        if len(self.classes) < 2:
            raise InnflowError(
                f"data.labels=true needs two classes or more to train on, there is only "
                f"{self.classes[0]}: add to data.inliers, or a folder to {self.root}/train"
            )

    def _notes(self, splits: set[str], strangers: int, outside: int) -> list[str]:
        notes = []
        if self.tested == "val":
            notes.append(
                "no test/, so val/ is the test set and the validation set is a part of train/"
            )
        if not len(self.rows(self.tested)):
            where = f"no images of the training classes in {self.tested}/"
            where = where if self.tested in splits else "no test/"
            share = f"{self.test_share:.0%} of the training images"
            notes.append(f"{where}, so {share}, chosen at random, become the test set")
        if strangers:
            notes.append(f"{strangers:,} images in val/ are of no training class and not used")
        if outside:
            notes.append(f"{outside:,} images outside train/, val/ and test/ are not used")
        return [f"{self.root}: {note}" for note in notes]


def _place(path: str) -> tuple[str, str]:
    """Return the split and the class of a path such as train/cat/tabby/1.jpg; "" for none."""
    split, kind, *_ = [*path.split("/")[:-1], "", ""]
    return split, kind
