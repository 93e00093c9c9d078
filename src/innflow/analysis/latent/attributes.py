"""Directions in latent space along which one attribute of an image changes."""

from dataclasses import dataclass

import numpy as np

from innflow.analysis.findings import Findings, Plot, Table
from innflow.analysis.study import ImageAnalysis, Study, to_pixels
from innflow.figure.image_rows import plot_image_rows


def brightness(images: np.ndarray) -> np.ndarray:
    """Return the mean grey level of each image."""
    return images.mean(axis=(1, 2, 3), dtype=np.float64)


def warmth(images: np.ndarray) -> np.ndarray:
    """Return the mean of the red minus the blue channel of each image, in grey levels."""
    channels = images.mean(axis=(2, 3), dtype=np.float64)
    return channels[:, 0] - channels[:, -1]


def contrast(images: np.ndarray) -> np.ndarray:
    """Return the standard deviation of the pixels of each image."""
    return images.reshape(len(images), -1).std(axis=1, dtype=np.float64)


@dataclass
class Attributes(ImageAnalysis):
    """Move test images along differences of the mean latents of groups of training images.

    The groups need no labels: they are the upper and the lower third of the training images by an
    attribute. Where the training images lie in several class folders, the difference
    of each folder from the others is also a direction.

        >>> Attributes(images=2).steps
        9

    Attributes:
        images: number of test images to start from.
        reach: length of a path to each side, in differences of the group means.
        steps: number of images of a path.
    """

    images: int = 3
    reach: float = 1.5
    steps: int = 9

    def __call__(self, study: Study) -> Findings:
        """Draw one figure per direction, and tabulate the attribute at the ends of the paths."""
        self.check(study)
        train, test = study.measure("train"), study.measure("test")
        starts = np.random.default_rng(study.seed + 1).permutation(len(test))[: self.images]
        steps = study.count(self.steps, 3)
        amounts = np.linspace(-self.reach, self.reach, steps)
        findings = Findings("Attribute directions", "")
        rows = []
        attributes = {"brightness": brightness, "contrast": contrast}
        if study.app.shape[0] == 3:
            attributes["warmth"] = warmth
        for name, value in attributes.items():
            values = value(train.data)
            low, high = np.quantile(values, [1 / 3, 2 / 3])
            more, less = values >= high, values <= low
            images = self._walk(study, findings, name, more, less, starts, amounts)
            walked = value(images[::steps]), value(images[steps - 1 :: steps])
            counts = f"{less.sum():,} / {more.sum():,}"
            groups = f"{values[less].mean():.1f} / {values[more].mean():.1f}"
            ends = f"{walked[0].mean():.1f} / {walked[1].mean():.1f}"
            rows.append([name, counts, groups, f"{value(test.data[starts]).mean():.1f}", ends])
        for name, inside in _folders(study.names("train")).items():
            self._walk(study, findings, name, inside, ~inside, starts, amounts)
        title = "Attributes of the groups and of the ends of the paths, grey levels"
        columns = ["attribute", "images less / more", "groups", "start", "ends of the walk"]
        findings.tables.append(Table(title, columns, rows))
        findings.text = (
            f"Directions are differences of the mean latents of two groups of the {len(train):,} "
            "training images: the upper and the lower third by an attribute. The paths start at "
            f"{len(starts)} test images and extend {self.reach:g} differences to each side."
        )
        return findings

    def _walk(
        self,
        study: Study,
        findings: Findings,
        name: str,
        more: np.ndarray,
        less: np.ndarray,
        starts: np.ndarray,
        amounts: np.ndarray,
    ) -> np.ndarray:
        latent = study.measure("train").latent
        direction = latent[more].mean(axis=0) - latent[less].mean(axis=0)
        walks = [z + amounts[:, None] * direction for z in study.measure("test").latent[starts]]
        images = to_pixels(study.decode(np.concatenate(walks), name))
        columns = [f"{amount:+.2g}" if amount else "test image" for amount in amounts.round(3)]
        rows = np.split(images, len(starts))
        figure = plot_image_rows(rows, [""] * len(rows), columns)
        findings.figures[name] = Plot(
            figure,
            f"{name.capitalize()}: each row moves a test image (middle) towards less on the left "
            "and more on the right; the unit is the difference of the group means, of length "
            f"{np.linalg.norm(direction):.1f} in latent space.",
        )
        return images


def _folders(paths: list[str]) -> dict[str, np.ndarray]:
    """Return a mask (N,) for each class folder train/<class>/..., if there are several."""
    folders = np.array([path.split("/")[1] if path.count("/") > 1 else "" for path in paths])
    names = sorted(set(folders) - {""})
    return {name: folders == name for name in names} if len(names) > 1 else {}
