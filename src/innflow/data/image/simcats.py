"""Drawn cats, dogs, beach balls and flowers as image files, for training without a download."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

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


class SimCats(Images):
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
        chosen = {check_choice("inliers", kind, tuple(SUBJECTS)) for kind in inliers}
        if not chosen:
            raise InnflowError(f"data.inliers is empty: choose from {', '.join(SUBJECTS)}")
        self.counts = {}
        for subject in (kind for kind in SUBJECTS if kind in chosen):
            self.counts[f"train/{subject}"] = check_whole("n_train", n_train, 2)
            self.counts[f"test/{subject}"] = check_whole("n_test", n_test, 1)
        outliers = [f"test/{subject}" for subject in SUBJECTS if subject not in chosen]
        self.counts |= dict.fromkeys(outliers, check_whole("n_outliers", n_outliers, 1))
        self.draw_size = check_whole("draw_size", draw_size, 8)
        self.draw_seed = check_whole("draw_seed", draw_seed, 0)
        name = f"simcats-{cache_key(_DRAWING, self.counts, draw_size, draw_seed)}"
        root, kinds = Path(cache_dir).expanduser() / name, sorted(chosen)
        common = (batch_size, holdout, kinds, augment, cache_dir, workers, seed, labels)
        super().__init__(root, size, channels, *common)
        if labels:
            # Known before anything is drawn.
            paths = [f"{folder}/0.png" for folder in self.counts]
            self._classes = Folders(self.root, paths, self.inliers, labels).classes

    def open_cache(self, verify: bool) -> Cached:
        """Draw the images unless they are there, and open them."""
        root = Path(self.root)
        if not root.exists():
            draw_folder(root, self.counts, self.draw_size, self.draw_seed)
        return super().open_cache(verify)


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
        for _ in track(done, "drawing cats, dogs, beach balls and flowers", len(tasks)):
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
