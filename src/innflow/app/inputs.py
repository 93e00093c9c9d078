"""Conversion of images and vectors in the forms that users have to tensors for an application."""

import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from innflow.errors import InnflowError

log = logging.getLogger(__name__)

_LARGEST = 1 / 64
"""Share of the grey levels that the largest value of floating images has to exceed."""


def to_images(items: Any, shape: Sequence[int], levels: int) -> Tensor:
    """Return images (B, *shape) of grey levels, of the data type given or uint8.

    Args:
        items: a path, folder or `s3://` URL, a PIL image, an array or tensor, or a list of these.
            Arrays are one image or several, channels first or last. Files, PIL images and uint8
            arrays are converted as training images are: shorter side resized, centre cropped. Other
            arrays must have the shape of the model.
        shape: (C, size, size).
        levels: number of grey levels.

    Raises:
        InnflowError: if a file cannot be decoded, a shape does not fit, or the values are not grey
            levels, such as floats from 0 to 1.
    """
    images = _stack(items, tuple(shape))
    _check_levels(images, levels)
    return images


def are_pictures(items: Any) -> bool:
    """Return whether items are images rather than numbers: uint8 arrays, PIL images or paths.

    Example:
        >>> are_pictures(["a.png"]), are_pictures("table.csv"), are_pictures(torch.rand(3, 8))
        (True, False, False)
    """
    if isinstance(items, list | tuple) and items:
        return are_pictures(items[0])
    if isinstance(items, str | os.PathLike):
        return not os.fspath(items).lower().endswith((".csv", ".npz", ".parquet"))
    if isinstance(items, Tensor | np.ndarray):
        return items.dtype in (torch.uint8, np.uint8)
    return hasattr(items, "getpixel")  # a PIL image


def to_vectors(
    items: Any,
    names: Sequence[str],
    known: bool,
    key: str = "x",
    label: str | None = None,
    missing: bool = False,
) -> Tensor:
    """Return vectors (B, D) of finite numbers, and of NaN where values are missing.

    Args:
        items: the path of a table, a data frame, or an array of one vector (D,) or several (B, D).
        names: names of the D features. The columns of tables and data frames are found by name;
            others are ignored, with a line for the user.
        known: whether the columns of a data frame must have these names; otherwise they are taken
            by position.
        key: what the vectors are, for messages.
        label: column of classes in a table, which is no feature.
        missing: whether values may be missing: NaN, or blank cells of a table.

    Raises:
        InnflowError: if a column is missing or unknown, or a value is not a finite number.
    """
    if isinstance(items, str | os.PathLike):
        from innflow.data.table.files import read_rows  # late: most programs pass arrays

        return read_rows(items, names, key, label, missing=missing)
    if hasattr(items, "columns") and hasattr(items, "to_numpy"):
        items = _from_frame(items, names if known else None, key)
    vectors = to_tensor(items, key)
    if vectors.dim() == 1 and len(vectors) == len(names):
        vectors = vectors[None]
    if vectors.dim() != 2 or vectors.shape[1] != len(names):
        raise InnflowError(
            f"{key} has shape {tuple(vectors.shape)}, expected (batch, {len(names)})"
        )
    good = vectors.float().isfinite() | (vectors.isnan() & missing)
    bad = (~good).nonzero()
    if len(bad):
        row, column = bad[0].tolist()
        raise InnflowError(
            f"{key}, row {row} (from 0), column {names[column]}: {vectors[row, column].item()} is "
            "not a finite number in single precision: correct or remove it"
        )
    return vectors


def _stack(items: Any, shape: tuple[int, ...]) -> Tensor:
    from PIL import Image, ImageOps

    from innflow.data.image.decode import to_pixels
    from innflow.data.image.storage import read_images  # late: most programs pass arrays

    channels, size, _ = shape
    if isinstance(items, str | os.PathLike):
        images, _, skipped = read_images(items, size, channels)
        if skipped:  # results must have one row for each file
            raise InnflowError(f"{items}: {skipped[0]}: remove it, or use innflow-score")
        return images
    if isinstance(items, Image.Image):
        try:
            upright = ImageOps.exif_transpose(items)
            return torch.tensor(to_pixels(upright, size, channels))[None]
        except (ValueError, OSError) as error:
            raise InnflowError(f"x: {error}") from error
    if isinstance(items, list | tuple) and items:
        return torch.cat([_stack(item, shape) for item in items])
    images = to_tensor(items, "x")
    if tuple(images.shape[-3:]) == shape and images.dim() in (3, 4):
        return images.reshape(-1, *shape)
    rows = _channels_last(images, channels)
    fits = rows is not None and tuple(rows.shape[1:]) == (size, size, channels)
    if rows is not None and (fits or rows.dtype == torch.uint8):
        if fits:
            return rows.permute(0, 3, 1, 2)
        pictures = [Image.fromarray(row.squeeze(-1).cpu().numpy()) for row in rows]
        return torch.cat([_stack(picture, shape) for picture in pictures])
    raise InnflowError(
        f"x has shape {tuple(images.shape)}, expected (batch, {', '.join(map(str, shape))}); "
        "uint8 images and files may have any size"
    )


def _channels_last(images: Tensor, channels: int) -> Tensor | None:
    """Return arrays of one or several images as (B, H, W, C); None if they are none."""
    if images.dim() == 2:
        return images[None, :, :, None]
    if images.dim() not in (3, 4) or not images.numel():
        return None
    if images.shape[-1] in (1, 3, 4):
        return images if images.dim() == 4 else images[None]
    if images.dim() == 3 and images.shape[0] not in (1, 3):
        return images[..., None] if channels == 1 else None
    first = images if images.dim() == 4 else images[None]
    return first.permute(0, 2, 3, 1) if first.shape[1] in (1, 3) else None


def _check_levels(images: Tensor, levels: int) -> None:
    """Raise if values are clearly not grey levels from 0 to levels - 1."""
    if not images.numel():
        return
    if not bool(images.isfinite().all()):
        raise InnflowError("x has values that are missing or not finite: give grey levels")
    low, high = images.min().item(), images.max().item()
    if images.is_floating_point():
        # Floating grey levels, as `decode` returns them, may exceed their range a little.
        wrong = levels > 2 and high <= max(1.0, levels * _LARGEST)
    else:
        wrong = low < 0 or high >= levels
    if wrong:
        raise InnflowError(
            f"x has values from {low:g} to {high:g}, but images of this model have grey levels "
            f"from 0 to {levels - 1}: give them as uint8, not scaled to 1 or standardised"
        )


def _from_frame(frame: Any, names: Sequence[str] | None, key: str) -> np.ndarray:
    """Return the values (B, D) of the named columns of a data frame; of all without names."""
    from innflow.data.table.categories import categories_in, indicator_names, indicators
    from innflow.data.table.columns import listed

    table, found = frame.to_numpy(), [str(column) for column in frame.columns]
    texts = categories_in(names or (), found)
    for column, categories in texts.items():
        table = np.column_stack([table, indicators(table[:, found.index(column)], categories)])
        found += indicator_names(column, categories)
    chosen = found if names is None else list(names)
    missing = [name for name in chosen if name not in found]
    if missing:
        raise InnflowError(
            f"{key} has no column {listed(missing)}; it has {listed(found)}, the run was trained "
            f"on {listed(chosen)}"
        )
    others = [name for name in found if name not in chosen and name not in texts]
    if others:
        log.warning("%s: %s ignored, the run has no such columns", key, listed(others))
    values = table[:, [found.index(name) for name in chosen]]
    if values.dtype != object:
        return values
    rows = np.empty(values.shape)
    for (row, at), value in np.ndenumerate(values):
        if isinstance(value, str):
            raise InnflowError(
                f"{key}, row {row} (from 0), column {chosen[at]}: {value!r} is not a number"
            )
        try:
            rows[row, at] = value
        except (TypeError, ValueError):  # None or NA
            rows[row, at] = np.nan
    return rows


def to_tensor(items: Any, key: str) -> Tensor:
    """Return an array of numbers as a tensor."""
    if isinstance(items, Tensor):
        return items
    try:
        array = np.asarray(items)
    except ValueError as error:  # lists of different lengths
        raise InnflowError(f"{key} is not an array of numbers: {error}") from error
    if array.dtype.kind not in "fiub":
        kind = type(items).__name__
        raise InnflowError(f"{key} is not an array of numbers: {kind} of type {array.dtype}")
    if array.dtype.kind == "u" and array.itemsize > 1:  # which torch hardly supports
        array = array.astype(np.int64)
    if array.dtype.kind == "f" and array.itemsize not in (2, 4, 8):
        array = array.astype(np.float64)
    return torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="))))
