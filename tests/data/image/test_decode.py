from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from innflow.data.image.decode import decode

RNG = np.random.default_rng(0)
COLOURS = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (8, 8), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (8, 8), dtype=np.uint8)
ON_WHITE = 255 + (COLOURS - 255.0) * ALPHA[..., None] / 255


def load(image: Image.Image, path: Path, channels: int = 3, size: int = 8, **options) -> np.ndarray:
    """Save an image as a file of its own kind, and decode that file."""
    image.save(path, **options)
    pixels = decode(path.read_bytes(), size, channels)
    assert pixels.dtype == np.uint8
    assert pixels.shape == (channels, size, size)
    return pixels.transpose(1, 2, 0).astype(float)


def test_colour_comes_back_exactly(tmp_path):
    assert np.array_equal(load(Image.fromarray(COLOURS), tmp_path / "a.png"), COLOURS)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "pgm"])
def test_grey_in_every_lossless_format(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    pixels = load(Image.fromarray(GREY), tmp_path / f"a.{suffix}", **options)
    assert np.array_equal(pixels, np.stack([GREY] * 3, axis=-1))


def test_one_bit(tmp_path):
    bits = Image.fromarray(np.where(GREY > 99, 255, 0).astype(np.uint8)).convert("1")
    assert np.array_equal(load(bits, tmp_path / "a.png", 1)[..., 0], np.where(GREY > 99, 255, 0))


def test_grey_of_colour_is_luma(tmp_path):
    luma = COLOURS @ np.array([0.299, 0.587, 0.114])
    grey = load(Image.fromarray(COLOURS), tmp_path / "a.png", channels=1)[..., 0]
    assert np.abs(grey - luma).max() <= 1


def test_palette(tmp_path):
    image = Image.fromarray(COLOURS).quantize(16)
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(load(image, tmp_path / "a.png"), expected)
    assert np.array_equal(load(image, tmp_path / "a.gif"), expected)


def test_transparent_palette_lies_on_white(tmp_path):
    image = Image.fromarray(COLOURS).quantize(16)
    index = np.asarray(image)
    expected = np.asarray(image.convert("RGB")).copy()
    expected[index == 3] = 255
    assert (index == 3).any()
    assert np.array_equal(load(image, tmp_path / "a.png", transparency=3), expected)


def test_rgba_lies_on_white(tmp_path):
    image = Image.fromarray(np.dstack([COLOURS, ALPHA]))
    assert np.abs(load(image, tmp_path / "a.png") - ON_WHITE).max() <= 1


def test_la_lies_on_white(tmp_path):
    image = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)])
    expected = 255 + (GREY - 255.0) * ALPHA / 255
    assert np.abs(load(image, tmp_path / "a.png", 1)[..., 0] - expected).max() <= 1


def test_transparent_colour_of_an_rgb_file(tmp_path):
    pixels = COLOURS.copy()
    pixels[2:4] = (10, 20, 30)
    expected = pixels.copy()
    expected[2:4] = 255
    image = load(Image.fromarray(pixels), tmp_path / "a.png", transparency=(10, 20, 30))
    assert np.array_equal(image, expected)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bit_grey(tmp_path, suffix):
    deep = RNG.integers(0, 65536, (8, 8), dtype=np.uint16)
    deep[0, :3] = (0, 65535, 257)
    pixels = load(Image.fromarray(deep), tmp_path / f"a.{suffix}", channels=1)[..., 0]
    assert np.array_equal(pixels, np.rint(deep / 257))


def test_big_endian_sixteen_bit(tmp_path):
    deep = RNG.integers(0, 65536, (8, 8), dtype=np.uint16)
    image = Image.frombytes("I;16B", (8, 8), deep.astype(">u2").tobytes())
    assert np.array_equal(load(image, tmp_path / "a.tif", 1)[..., 0], np.rint(deep / 257))


def test_cmyk(tmp_path):
    ink = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    assert np.array_equal(load(ink, tmp_path / "a.tif")[0, 0], (0, 255, 255))
    assert np.abs(load(ink, tmp_path / "a.jpg")[4, 4] - (0, 255, 255)).max() <= 3


@pytest.mark.parametrize(("mode", "says"), [("F", "mode F"), ("I", "mode I")])
def test_modes_without_a_white_are_refused_by_name(tmp_path, mode, says):
    with pytest.raises(ValueError, match=says):
        load(Image.new(mode, (8, 8), 3), tmp_path / "a.tif")


ORIENTED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", ORIENTED)
def test_exif_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = load(Image.fromarray(COLOURS), tmp_path / "a.png", exif=exif)
    assert np.array_equal(pixels, ORIENTED[orientation](COLOURS))


def test_the_centre_is_kept(tmp_path):
    wide = RNG.integers(0, 256, (8, 15, 3), dtype=np.uint8)
    assert np.array_equal(load(Image.fromarray(wide), tmp_path / "a.png"), wide[:, 3:11])
    tall = wide.transpose(1, 0, 2)
    assert np.array_equal(load(Image.fromarray(tall), tmp_path / "b.png"), tall[3:11])


def test_reducing_averages_and_does_not_pick(tmp_path):
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    pixels = load(Image.fromarray(board.astype(np.uint8)), tmp_path / "a.png", 1)
    assert np.abs(pixels - 127.5).max() < 4


def test_a_large_jpeg_agrees_with_its_plain_reduction(tmp_path):
    axis = np.linspace(0, 3, 400)
    smooth = 127 + 100 * np.sin(axis)[:, None, None] * np.cos([axis, 2 * axis, 3 * axis]).T[None]
    image = Image.fromarray(smooth.astype(np.uint8))
    plain = np.asarray(image.resize((8, 8), Image.Resampling.LANCZOS)).astype(float)
    assert np.abs(load(image, tmp_path / "a.jpg", quality=95) - plain).max() < 5


def png_header(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_000, 50_000])
def test_a_bomb_is_refused_before_it_goes_off(side):
    with pytest.raises(ValueError, match="million pixels"):
        decode(png_header(side, side), 8, 3)


def test_what_is_no_image(tmp_path):
    with pytest.raises(ValueError, match="not an image"):
        decode(b"hello", 8, 3)
    with pytest.raises(ValueError, match="not an image"):
        decode(b"", 8, 3)
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, "JPEG")
    with pytest.raises(ValueError, match="truncated"):
        decode(buffer.getvalue()[:800], 8, 3)
