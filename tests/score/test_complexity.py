import bz2
import io
import lzma
import math
import zlib
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from innflow.errors import InnflowError
from innflow.score import Complexity, Measured, code_lengths
from innflow.score.complexity import CODECS

from .test_scores import measured


def images(n, channels=3, size=8, seed=0, noise=40.0):
    rng = np.random.default_rng(seed)
    smooth = np.broadcast_to(np.arange(size) * 8.0 + 60, (n, channels, size, size))
    return np.clip(np.rint(smooth + noise * rng.normal(size=smooth.shape)), 0, 255).astype(np.uint8)


def of(data, log_prob=None):
    n, zeros = len(data), np.zeros(len(data))
    log_prob = zeros if log_prob is None else log_prob
    return Measured(log_prob, zeros[:, None], zeros, np.zeros((n, 1)), data)


def test_the_score_is_bits_less_code_length():
    data = images(100)
    log_prob = np.linspace(-900, -500, 100)
    raw = [np.moveaxis(image, 0, -1).tobytes() for image in data]
    bits = -log_prob / math.log(2)
    lengths = [8 * len(zlib.compress(one, 9)) for one in raw]
    np.testing.assert_allclose(Complexity("zlib")(of(data, log_prob)), bits - lengths)
    lengths = [8 * len(bz2.compress(one, 9)) for one in raw]
    np.testing.assert_allclose(Complexity("bz2")(of(data, log_prob)), bits - lengths)


def decode(codec, file, channels, size):
    if codec in ("zlib", "bz2"):
        return {"zlib": zlib, "bz2": bz2}[codec].decompress(file)
    if codec == "lzma":
        filters = [{"id": lzma.FILTER_LZMA2, "dict_size": max(4096, size)}]
        return lzma.decompress(file, lzma.FORMAT_RAW, filters=filters)
    with Image.open(io.BytesIO(file)) as picture:
        assert picture.format == codec.upper()
        return picture.convert("L" if channels == 1 else "RGB").tobytes()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("codec", CODECS)
def test_the_length_is_that_of_a_code_without_loss(codec, channels):
    data = images(3, channels)
    pixels = [np.ascontiguousarray(np.moveaxis(image, 0, -1)) for image in data]
    files = [CODECS[codec](image) for image in pixels]
    for image, file in zip(pixels, files, strict=True):
        assert decode(codec, file, channels, image.size) == image.tobytes()
    np.testing.assert_array_equal(code_lengths(data, codec), [8 * len(file) for file in files])


@pytest.mark.parametrize("codec", CODECS)
def test_noise_is_longer_than_a_ramp_and_every_image_keeps_its_place(codec):
    smooth, noisy = images(1, size=32, noise=0), images(1, size=32)
    lengths = code_lengths(np.concatenate([smooth] * 70 + [noisy] + [smooth] * 9), codec)
    assert lengths.argmax() == 70
    assert lengths[70] > 2 * lengths[0]
    assert len(set(np.delete(lengths, 70))) == 1
    assert lengths[70] < 1.25 * 8 * noisy.size


def test_whole_grey_levels_of_any_type_are_the_same():
    data = images(5)
    bytes_ = code_lengths(data, "png")
    np.testing.assert_array_equal(code_lengths(data.astype(np.float32), "png"), bytes_)
    np.testing.assert_array_equal(code_lengths(data.astype(np.int64), "png"), bytes_)


@pytest.mark.parametrize("wrong", [0.5, 256.0, -1.0, np.nan])
def test_pixels_that_are_no_grey_levels_are_refused(wrong):
    data = images(3).astype(np.float64)
    data[2, 0, 0, 0] = wrong
    with pytest.raises(InnflowError, match="not integer grey levels"):
        Complexity()(of(data))


def test_items_that_are_no_images_are_refused_in_one_line():
    score = Complexity()
    for call in (score.fit, score):
        with pytest.raises(
            InnflowError, match=r"scores images, not items of shape \(6,\)"
        ) as caught:
            call(measured())
        assert "\n" not in str(caught.value)
    with pytest.raises(InnflowError, match="2 channels"):
        score(of(images(3, 2)))
    assert len(Complexity("zlib")(of(images(3, 2)))) == 3
    with pytest.raises(InnflowError, match="codec=gif: must be one of png, webp"):
        Complexity("gif")
    assert code_lengths(images(1)[:0], "png").shape == (0,)


def test_of_equally_likely_images_the_simpler_has_the_higher_score():
    """The image that compresses better has the higher score."""
    data = np.concatenate([images(1, noise=0), images(1, noise=40)])
    scores = Complexity()(replace(of(data), log_prob=np.full(2, -500.0)))
    assert scores[0] > scores[1]
