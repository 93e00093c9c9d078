"""Near copies across sets of images: one picture after another resizing or compression.

Pictures are compared as thumbnails of 16 x 16 pixels, each minus its mean and divided by its norm,
so that brightness and contrast do not count. The distance of two pictures is the root mean square
difference of their thumbnails in units of their contrast, from 0 to 2. A pair is a near copy if its
distance is at most a quarter of that to the tenth next picture, or of 1 where this is smaller:
digits or drawings are close to many others of both sets, copies to few. docs/anomaly-detection.md
states the measured distances. Other crops, mirror images and changed colours are not found.
"""

import csv
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from innflow.data.image.cache import name_first, writable
from innflow.data.sets import PartsSet
from innflow.errors import InnflowError
from innflow.system.file.atomic import write_text
from innflow.system.progress import announce

_SIDE = 16
_FLAT = 4.0
"""Standard deviation within channels, in grey levels, below which a picture counts as flat; a
picture whose contrast is mostly its colour counts as flat too."""
_SHARE, _RANK = 0.25, 10
_SAME = 0.02
"""Distance of a copy in any case, so that ten or more copies of one picture are found too."""
_AXES = 32
_CHUNK = 4096
_ENTRIES = 1 << 24  # of a matrix of distances


NearCopies = Literal["leave_out", "keep"]
COPIES = ("leave_out", "keep")


class Copy(NamedTuple):
    """A trained picture, by position and name, and its near copy in a tested set."""

    distance: float
    row: int
    trained: str
    tested: str


class Thumbnails(NamedTuple):
    """Thumbnails (N, D) of length 1, of flat pictures 0, and the names of the pictures."""

    rows: Tensor
    names: list[str]


def leave_out_copies(
    sets: Mapping[str, PartsSet], source: str, folder: Path, keep: bool
) -> dict[str, PartsSet]:
    """Return the sets without the near copies of later sets in "val", then in "train".

    The test set and the outliers stay as they are. A line for the user gives the number of copies,
    and a file in `folder` all of them. With `keep`, and for test images that are near copies of
    outliers, there is only this line.
    """
    tested = {name: items for name, items in sets.items() if name not in ("train", "val", "test")}
    result = dict(sets)
    for name in ("test", "val", "train"):
        items, kept = sets[name], keep or name == "test"
        found = find_copies(thumbnails(items), thumbnails(*tested.values())) if tested else []
        copied = {copy.row for copy in found}
        others = torch.tensor([row for row in range(len(items)) if row not in copied]).long()
        if found:
            action = "kept" if kept else "left out; data.near_copies=keep keeps them"
            if name == "test":
                action = "inliers and outliers at once: remove them from one of the two"
            line = (
                f"{source}: {len(copied):,} of {len(items):,} images of the set {name} are near "
                f"copies of images in {', '.join(tested)} ({_list(found, folder, name)})"
            )
            if not kept and not len(others):
                raise InnflowError(f"{line}, so none are left: remove them or give others")
            announce(f"warning: {line}: {action}")
        if not kept:
            result[name] = items.select(name, items.role, others)
        tested = {name: result[name], **tested}
    return result


def refuse_copies(general: PartsSet, sets: Mapping[str, PartsSet], folder: Path) -> None:
    """Raise an error if a general set has near copies of images that are not trained on."""
    tested = {name: items for name, items in sets.items() if name != "train"}
    found = find_copies(thumbnails(general), thumbnails(*tested.values()))
    if found:
        raise InnflowError(
            f"data.general={general.name}: {len({copy.row for copy in found}):,} near copies of "
            f"images in {', '.join(tested)} ({_list(found, folder, 'general')}), so scores would "
            "be tested on images that were trained on: remove them from that folder"
        )


def _list(found: Sequence[Copy], folder: Path, name: str) -> str:
    """Return the first pairs as text, after writing all of them to a file."""
    file = folder / f"near_copies_{name}.csv"
    text = io.StringIO()
    rows = [(f"{copy.distance:.4f}", copy.trained, copy.tested) for copy in found]
    csv.writer(text, lineterminator="\n").writerows([("distance", "trained", "tested"), *rows])
    with writable(folder):
        # The name of a file may hold bytes that are no text.
        write_text(file, text.getvalue().encode(errors="backslashreplace").decode())
    first = [f"{copy.trained} of {copy.tested}, distance {copy.distance:.2g}" for copy in found]
    return f"{name_first(first)}; all in {file}"


def thumbnails(*sets: PartsSet) -> Thumbnails:
    """Return the thumbnails of the images x, uint8 (N, C, H, W), of sets."""
    rows = []
    for items in sets:
        for some in torch.arange(len(items)).split(_CHUNK):
            x = items.__getitems__(some)["x"]
            side = [min(_SIDE, x.shape[-1])] * 2
            small = interpolate(x, side, mode="bilinear", antialias=True).float()
            inside = (small - small.mean((2, 3), keepdim=True)).flatten(1).norm(dim=1, keepdim=True)
            small = (small - small.mean((1, 2, 3), keepdim=True)).flatten(1)
            length = small.norm(dim=1, keepdim=True)
            flat = inside < (_SHARE * length).clamp(min=_FLAT * math.sqrt(small.shape[1]))
            rows.append(torch.where(flat, 0.0, small / length))
    return Thumbnails(torch.cat(rows), [name for items in sets for name in items.names])


def find_copies(trained: Thumbnails, tested: Thumbnails) -> list[Copy]:
    """Return the pairs of near copies, the closest first.

    Pictures with one file name, unique on both sides, may be twice as far apart. Candidates come
    from the projections to 32 principal axes and the length of the remainder, which are never
    farther apart than the thumbnails. 100,000 against 5,000 colour pictures take 4 s on one
    thread.
    """
    left, right = trained.rows, tested.rows
    everyone = torch.cat([left, right])
    partner = _same_name(trained.names, tested.names)
    hinted = (partner >= 0) & ((right * left[partner]).sum(1) >= _cosine(2 * _SHARE))
    _, axes = torch.linalg.eigh(right[:_CHUNK].T @ right[:_CHUNK])
    low_left, low_right = (_project(rows, axes[:, -_AXES:]) for rows in (left, right))
    block = max(_ENTRIES // len(left), 1)
    near = [(some @ low_left.T >= _cosine(_SHARE)).any(1) for some in low_right.split(block)]
    found: list[Copy] = []
    for rows in (torch.cat(near) | hinted).nonzero()[:, 0].split(block):
        distance = (2 - 2 * right[rows] @ everyone.T).clamp(min=0).sqrt()
        scale = torch.ones(len(rows), 1)
        if len(everyone) > _RANK + 1:  # the first is the picture itself, the second its copy
            scale = distance.topk(_RANK + 2, largest=False).values[:, -1:].clamp(max=1)
        distance = distance[:, : len(left)]
        limit = (_SHARE * scale).clamp(min=_SAME).expand_as(distance).clone()
        one = hinted[rows].nonzero()[:, 0]
        limit[one, partner[rows[one]]] *= 2
        for at, row in (distance <= limit).nonzero().tolist():
            names = trained.names[row], tested.names[rows[at]]
            found.append(Copy(distance[at, row].item(), row, *names))
    return sorted(found)


def _same_name(trained: Sequence[str], tested: Sequence[str]) -> Tensor:
    """Return the position (N,) of the trained picture with the file name of each tested one.

    It is -1 where there is none, or where either side has the name twice.
    """
    left, right = _unique(trained), _unique(tested)
    partner = torch.full((len(tested),), -1)
    for name in left.keys() & right.keys():
        partner[right[name]] = left[name]
    return partner


def _unique(paths: Sequence[str]) -> dict[str, int]:
    """Return the position of each file name that occurs once."""
    names = [path.rpartition("/")[2] for path in paths]
    number = Counter(names)
    return {name: row for row, name in enumerate(names) if number[name] == 1}


def _cosine(distance: float) -> float:
    """Return the cosine of vectors of length 1 at a distance, less the rounding error."""
    return 1 - distance**2 / 2 - 1e-6


def _project(rows: Tensor, axes: Tensor) -> Tensor:
    """Return the projections of rows (N, D) to axes (D, K) and the length of the rest (N, K+1)."""
    inside = rows @ axes
    rest = rows.square().sum(1) - inside.square().sum(1)
    return torch.cat([inside, rest.clamp(min=0).sqrt()[:, None]], dim=1)
