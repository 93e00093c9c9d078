"""Small trees of real image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def write_noise(path: Path, seed: int = 0, size: tuple[int, int] = (12, 10)) -> np.ndarray:
    """Save random colours (H, W, 3) without loss and return them."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """40 training cats at two depths, 10 test cats, 6 dogs and 5 balls."""
    root = tmp_path / "pictures"
    for i in range(40):
        write_noise(root / "train/cat" / ("tabby" if i % 2 else ".") / f"{i:02d}.png", i)
    for i in range(10):
        write_noise(root / f"test/cat/{i}.png", 100 + i)
    for i in range(6):
        write_noise(root / f"test/dog/{i}.png", 200 + i)
    for i in range(5):
        write_noise(root / f"test/ball/{i}.PNG", 300 + i)
    return root
