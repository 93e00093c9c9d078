"""Drawn images of cats and other subjects as files, for training without a download."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from joblib import Parallel, cpu_count, delayed

from innflow.data.base import check_choice, check_whole
from innflow.data.image.cache import Cached, cache_key, writable
from innflow.data.image.copies import NearCopies
from innflow.data.image.drawing.draw import SUBJECTS, draw_file
from innflow.data.image.folders import Folders
from innflow.data.image.images import DEFAULT_CACHE, Images
from innflow.errors import InnflowError
from innflow.system.file.atomic import writing_folder
from innflow.system.progress import track

_DRAWING = 1
"""Version of the drawings, part of their cache key: increase it when any pixel changes."""

_FEW = 200
_KINDS = ("cat", "dog", "beachball", "flower")


class _Drawings(Images):
    """Images that are drawn once, as files in a folder of the cache.

    Args:
        counts: Number of images by folder below the root, whose last name is the subject.
        draw_size: Height and width in pixels of the drawings.
        draw_seed: Of the drawings.
        cache_dir: Where they are kept.
        options: Further arguments of `Images`.
    """

    def __init__(
        self,
        counts: Mapping[str, int],
        draw_size: int,
        draw_seed: int,
        cache_dir: str | os.PathLike[str],
        **options: Any,
    ) -> None:
        self.counts = dict(counts)
        self.draw_size = check_whole("draw_size", draw_size, 8)
        self.draw_seed = check_whole("draw_seed", draw_seed, 0)
        name = f"drawings-{cache_key(_DRAWING, self.counts, draw_size, draw_seed)}"
        super().__init__(Path(cache_dir).expanduser() / name, cache_dir=cache_dir, **options)

    def open_cache(self, verify: bool) -> Cached:
        """Draw the images unless they are there, and open them."""
        root = Path(self.root)
        if not root.exists():
            draw_folder(root, self.counts, self.draw_size, self.draw_seed)
        return super().open_cache(verify)


class SimShapes(_Drawings):
    """Drawn shapes of random outline and material, as general images for `SimCats`.

    Backgrounds, light and camera are those of `SimCats`; cats, dogs, beach balls and flowers are
    not drawn.

    >>> SimShapes(size=16, n_train=20, n_test=5).counts
    {'train/shapes': 20, 'test/shapes': 5}

    Args:
        n_train: Number of images to train on.
        n_test: Number of images to test on.
        draw_size: Height and width in pixels of the drawings.
        draw_seed: Of the drawings; they stay the same while `seed` changes.
        size, channels, batch_size, holdout, augment, cache_dir, workers, seed: See `ImageModule`.
    """

    def __init__(
        self,
        size: int = 32,
        channels: int = 3,
        batch_size: int = 64,
        holdout: float = 0.05,
        augment: Sequence[str] | Mapping[str, float] | None = None,
        cache_dir: str | os.PathLike[str] = DEFAULT_CACHE,
        workers: int = 0,
        seed: int = 0,
        n_train: int = 10_000,
        n_test: int = 500,
        draw_size: int = 64,
        draw_seed: int = 0,
    ) -> None:
        train, test = check_whole("n_train", n_train, 2), check_whole("n_test", n_test, 1)
        super().__init__(
            {"train/shapes": train, "test/shapes": test},
            draw_size,
            draw_seed,
            cache_dir,
            size=size,
            channels=channels,
            batch_size=batch_size,
            holdout=holdout,
            augment=augment,
            workers=workers,
            seed=seed,
        )


class SimCats(_Drawings):
    """Drawn faces of cats to train on; drawn dogs, beach balls and flowers as outliers.

    Any of these kinds can be an inlier; the others are outliers. The backgrounds of all kinds have
    one distribution. The images are drawn once, as files in a folder of the cache.

    >>> SimCats(size=16, n_train=20).counts
    {'train/cat': 20, 'test/cat': 200, 'test/dog': 100, 'test/beachball': 100, 'test/flower': 100}

    Args:
        n_train: Number of images to train on, of each inlier kind.
        n_test: Number of images to test on, of each inlier kind.
        n_outliers: Number of images of each other kind.
        draw_size: Height and width in pixels of the drawings.
        draw_seed: Of the drawings; they stay the same while `seed` changes.
        inliers: Kinds to train on, from cat, dog, beachball and flower.
        labels: Whether the sets of inliers carry the kind of each image.
        size, channels, batch_size, holdout, augment, cache_dir, workers, seed: See
            `ImageModule`.
    """

    drawn = True

    def __init__(
        self,
        size: int = 32,
        channels: int = 3,
        batch_size: int = 64,
        holdout: float = 0.05,
        augment: Sequence[str] | Mapping[str, float] | None = None,
        cache_dir: str | os.PathLike[str] = DEFAULT_CACHE,
        workers: int = 0,
        seed: int = 0,
        n_train: int = 1500,
        n_test: int = 200,
        n_outliers: int = 100,
        draw_size: int = 64,
        draw_seed: int = 0,
        inliers: Sequence[str] = ("cat",),
        labels: bool = False,
    ) -> None:
        chosen = {check_choice("inliers", kind, _KINDS) for kind in inliers}
        if not chosen:
            raise InnflowError(f"data.inliers is empty: choose from {', '.join(_KINDS)}")
        counts = {}
        for subject in (kind for kind in _KINDS if kind in chosen):
            counts[f"train/{subject}"] = check_whole("n_train", n_train, 2)
            counts[f"test/{subject}"] = check_whole("n_test", n_test, 1)
        outliers = [f"test/{subject}" for subject in _KINDS if subject not in chosen]
        counts |= dict.fromkeys(outliers, check_whole("n_outliers", n_outliers, 1))
        super().__init__(
            counts,
            draw_size,
            draw_seed,
            cache_dir,
            size=size,
            channels=channels,
            batch_size=batch_size,
            holdout=holdout,
            inliers=sorted(chosen),
            augment=augment,
            workers=workers,
            seed=seed,
            labels=labels,
        )
        if labels:
            # Known before anything is drawn.
            paths = [f"{folder}/0.png" for folder in self.counts]
            self._classes = Folders(self.root, paths, self.inliers, labels).classes


def draw_folder(
    root: Path, counts: Mapping[str, int], size: int, seed: int, jobs: int | None = None
) -> None:
    """Draw images into a folder that appears whole, the same for any number of processes.

    Args:
        root: Folder to make.
        counts: Number of images by folder below the root, whose last name is the subject.
        size: Height and width in pixels.
        seed: Of the drawings.
        jobs: Processes; by default all cores, or one for few images.
    """
    subjects = list(SUBJECTS)
    tasks = []
    with writable(root.parent), writing_folder(root) as unfinished:
        for split, (folder, count) in enumerate(counts.items()):
            (unfinished / folder).mkdir(parents=True)
            subject = folder.rpartition("/")[2]
            for i in range(count):
                seeds = [seed, split, subjects.index(subject), i]
                tasks.append((unfinished / folder / f"{i:05d}.png", subject, seeds, size))
        jobs = jobs or (cpu_count() if len(tasks) > _FEW else 1)
        # joblib rather than concurrent.futures: its processes neither fork a program that has
        # threads nor import the user's script again.
        pool = Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=8)
        done = pool(delayed(draw_file)(*task) for task in tasks)
        for _ in track(done, "drawing", len(tasks)):
            pass


def cats(
    root: str | os.PathLike[str] | None = None,
    size: int = 32,
    channels: int = 3,
    batch_size: int = 64,
    holdout: float = 0.05,
    inliers: Sequence[str] | None = None,
    augment: Sequence[str] | Mapping[str, float] | None = None,
    cache_dir: str | os.PathLike[str] = DEFAULT_CACHE,
    workers: int = 0,
    seed: int = 0,
    labels: bool = False,
    n_train: int = 1500,
    n_test: int = 200,
    n_outliers: int = 100,
    general: str | os.PathLike[str] | None = None,
    near_copies: NearCopies = "leave_out",
) -> Images:
    """Return the photographs below `root` as `Images`, or `SimCats` if it is None.

    With labels, `inliers` chooses among the drawings too: `[cat, dog]` draws both to train on.
    `n_train`, `n_test` and `n_outliers` are numbers of drawings.

    >>> cats(size=16).drawn, cats("photographs", size=16).drawn
    (True, False)
    """
    common = (size, channels, batch_size, holdout)
    others = (augment, cache_dir, workers, seed)
    if root is not None:
        return Images(root, *common, inliers, *others, labels, general, near_copies=near_copies)
    if general is not None:
        raise InnflowError("data.general goes with photographs: set data.root too")
    if inliers is not None and not labels:
        raise InnflowError("data.inliers chooses among photographs: set data.root too")
    counts = (n_train, n_test, n_outliers)
    return SimCats(*common, *others, *counts, inliers=inliers or ("cat",), labels=labels)
