"""Trees with one strange file each: it is used, or skipped and named, and nothing else changes."""

from __future__ import annotations

import io
import os
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.conftest import write_noise
from innflow.data.image.images import Images

pytestmark = pytest.mark.extended

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 24, 3), dtype=np.uint8)


def encoded(kind: str, image: Image.Image | None = None, **options) -> bytes:
    file = io.BytesIO()
    (image or Image.fromarray(PIXELS)).save(file, kind, **options)
    return file.getvalue()


def damaged(kind: str, rng: np.random.Generator) -> bytes:
    """Return an image file that is cut off, which no decoder fills up."""
    data = encoded(kind)
    return data[: int(rng.integers(len(data) // 3))]


def listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


USED = {
    "bitmap.bmp": encoded("BMP"),
    "grey.png": encoded("PNG", Image.fromarray(PIXELS[..., 0])),
    "sixteen bits.png": encoded("PNG", Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 257)),
    "clear.png": encoded("PNG", Image.fromarray(PIXELS).convert("P"), transparency=3),
    "cmyk.jpg": encoded("JPEG", Image.fromarray(PIXELS).convert("CMYK")),
    "moving.gif": encoded("GIF", save_all=True, append_images=[Image.new("RGB", (24, 30))]),
    "wrong suffix.png": encoded("JPEG"),
    "broken exif.jpg": encoded("JPEG", exif=b"Exif\0\0II*\0garbage"),
    "two\nlines, and a comma.png": encoded("PNG"),
}
SKIPPED = {
    "empty.png": lambda path, _: path.write_bytes(b""),
    "cut off.png": lambda path, rng: path.write_bytes(damaged("PNG", rng)),
    "cut off.jpg": lambda path, rng: path.write_bytes(damaged("JPEG", rng)),
    "noise.jpg": lambda path, rng: path.write_bytes(rng.bytes(1000)),
    "page.jpg": lambda path, _: path.write_text("<html></html>"),
    "script.png": lambda path, _: path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n"),
    "floats.tif": lambda path, _: path.write_bytes(encoded("TIFF", Image.new("F", (9, 9)))),
    "huge.png": lambda path, _: Image.new("1", (9500, 9500)).save(path),
    "pipe.png": lambda path, _: os.mkfifo(path),
    "socket.png": lambda path, _: listen(path),
    "gone.png": lambda path, _: path.symlink_to("nowhere"),
    "circle.png": lambda path, _: path.symlink_to(path.name),
}
NOT_USED = {
    ".hidden.png": lambda path: path.write_bytes(encoded("PNG")),
    "folder.png": lambda path: path.mkdir(),
    "notes.txt": lambda path: path.write_text("cats"),
}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for folder, count, seed in (("train/cat", 14, 0), ("test/cat", 4, 100), ("test/dog", 3, 200)):
        for i in range(count):
            write_noise(root / f"{folder}/{i}.png", seed + i)
    return root


def sizes(root: Path) -> dict[str, int]:
    data = Images(root, size=8, cache_dir=root.parent / "cache", holdout=0.1)
    data.prepare_data()
    return {name: len(items) for name, items in data.sets().items()}


def test_trees_with_one_strange_file(pictures, tmp_path, caplog):
    rng = np.random.default_rng(0)
    places = [pictures / folder for folder in ("train/cat", "test/cat", "test/dog")]
    before = sizes(pictures)
    assert sum(before.values()) == 21
    for name, change in (USED | SKIPPED | NOT_USED).items():
        caplog.clear()
        path = places[int(rng.integers(3))] / name
        if name in USED:
            path.write_bytes(USED[name])
        elif name in SKIPPED:
            change(path, rng)
        else:
            change(path)
        found = sizes(pictures)
        assert sum(found.values()) == 21 + (name in USED), name
        named = f"skipped 1 of 22 images that cannot be decoded: {path.relative_to(pictures)}: "
        assert (named in caplog.text) == (name in SKIPPED), name
        assert name in SKIPPED or not caplog.records, name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_formats_and_folders_that_are_not_read_are_named(pictures, caplog):
    photo, folder = pictures / "train/cat/phone.HEIC", pictures / "train/lynx"
    photo.write_bytes(b"")
    folder.symlink_to("nowhere")
    assert sum(sizes(pictures).values()) == 21
    assert "train/cat/phone.HEIC not read, the format is not supported" in caplog.text
    assert "train/lynx is a link to a missing file" in caplog.text
    photo.unlink()
    folder.unlink()
