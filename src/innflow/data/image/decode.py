"""Decoding of image files to 8-bit pixels, upright and on white."""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps

RULE = "lanczos-1"
"""Version of the code below, part of every cache key: change both together."""

_NAMES = "bmp gif jpeg jpg pbm pgm png pnm ppm tif tiff webp"
SUFFIXES = frozenset(f".{name}" for name in _NAMES.split(" "))
# The formats of these suffixes: Pillow goes by the content and would call Ghostscript on an EPS.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# Where Pillow starts to warn of a decompression bomb; such an image is refused instead.
_MOST_PIXELS = 89_478_485
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")


def decode(data: bytes, size: int, channels: int) -> np.ndarray:
    """Return the picture in an image file as uint8 (C, size, size).

    Raises:
        ValueError: The bytes are not a picture that can be decoded; the message says why.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise Image.DecompressionBombError
            # A JPEG can be decoded at 1/2, 1/4 or 1/8: stay above twice the final size.
            image.draft(None, (2 * size, 2 * size))
            ImageOps.exif_transpose(image, in_place=True)
            return to_pixels(image, size, channels)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise ValueError(f"more than {_MOST_PIXELS // 1_000_000} million pixels") from None
    except Image.UnidentifiedImageError:
        raise ValueError("not an image") from None
    except Exception as error:  # decoders of damaged files raise anything, from OSError to struct
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error


def to_pixels(image: Image.Image, size: int, channels: int) -> np.ndarray:
    """Return an image as uint8 (C, size, size): shorter side to `size`, centre crop.

    Resized by a Lanczos window, which is antialiased and sharper than area averaging.

    Raises:
        ValueError: Its pixels have no defined black and white.
    """
    image = _to_eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    image = image.convert("RGB" if channels == 3 else "L")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side))
    if side != size:
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    pixels = np.asarray(image)
    return pixels.transpose(2, 0, 1) if channels == 3 else pixels[None]


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Return 16-bit grey as 8-bit grey, and anything else that has 8 bits as it is."""
    # Pillow opens a 16-bit PGM, and before 10.3 a 16-bit PNG, as 32-bit integers.
    if image.mode in _SIXTEEN_BIT or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        kind = "32-bit integer" if image.mode == "I" else "float"
        raise ValueError(f"{kind} pixels (mode {image.mode}) have no defined white")
    return image
