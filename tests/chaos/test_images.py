"""Image files that were spoilt, things that are no files, and hostile names."""

from __future__ import annotations

import csv
import io
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from PIL import Image
from tiny import TINY_IMAGES, train

from chaos.conftest import QUIET
from chaos.explore import explore
from chaos.sandbox import REFUSED, WORKED, Sandbox, Short, require
from chaos.settings import share
from chaos.values import characters, damaged, quoted
from innflow.data.image.decode import decode

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]

KINDS = ("PNG", "JPEG", "GIF", "TIFF", "BMP", "PPM", "WEBP")
MODES = ("RGB", "L", "P", "RGBA", "LA", "1", "CMYK", "I;16", "I", "F", "YCbCr", "HSV", "LAB", "PA")


@pytest.fixture(scope="module")
def cats_run(photographs, tmp_path_factory) -> Path:
    """Return the folder of a finished run on photographs, without analyses."""
    folder = tmp_path_factory.mktemp("cats")
    data = (f"data.root={photographs}", f"data.cache_dir={folder / 'cache'}")
    small = [each for each in TINY_IMAGES if not each.startswith("analysis")]
    train(folder / "run", *small, *data, *QUIET, "analysis=none")
    return folder / "run"


def files() -> list[bytes]:
    """Return an image in each kind of file and each mode of pixels that the kind has."""
    found = []
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    for kind in KINDS:
        for mode in MODES:
            buffer = io.BytesIO()
            try:
                Image.fromarray(pixels).convert(mode).save(buffer, kind)
            except (OSError, ValueError, KeyError):
                continue
            found.append(buffer.getvalue())
    frames = [Image.fromarray(pixels), Image.fromarray(255 - pixels)]
    for kind in ("GIF", "TIFF", "WEBP", "PNG"):
        buffer = io.BytesIO()
        frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
        found.append(buffer.getvalue())
    for size in ((1, 1), (1, 4000), (4000, 1), (3, 2000)):
        buffer = io.BytesIO()
        Image.new("RGB", size, "red").save(buffer, "PNG")
        found.append(buffer.getvalue())
    exif = Image.Exif()
    exif[0x0112] = 99
    buffer = io.BytesIO()
    frames[0].save(buffer, "JPEG", exif=exif)
    return [
        *found,
        buffer.getvalue(),
        b"",
        b"GIF89a",
        b"\x89PNG\r\n\x1a\n",
        b"%!PS\nshowpage",
        b"<svg/>",
    ]


FILES = files()
pictures = st.sampled_from(FILES).flatmap(
    lambda data: st.one_of(st.just(data), damaged(data), damaged(data))
)


def test_images_that_are_decoded():
    def check(given: tuple[bytes, int]) -> str:
        data, channels = given
        try:
            found = decode(data, 8, channels)
        except ValueError as error:
            require(str(error) and "\n" not in str(error), f"not one line: {error!r}")
            return REFUSED
        except Exception as error:
            raise Short(f"{type(error).__name__}: {error}") from None
        require(found.shape == (channels, 8, 8) and found.dtype == np.uint8, "another shape")
        return WORKED

    explore("images as files", st.tuples(pictures, st.sampled_from((1, 3))), share(9), check)


ENDS = (".png", ".png", ".PNG", ".jpg", ".jpeg", ".tif", ".webp", ".bmp", ".gif", ".txt", "")
names = st.one_of(
    st.text(characters, min_size=1, max_size=20),
    st.sampled_from(
        (
            *(
                "-x",
                "--help",
                "-rf",
                "a b",
                "a=b",
                "=1+1",
                "@x",
                "+1",
                "\t=1",
                "a,b",
                'say "hi"',
                "it's",
            ),
            *(
                "a\nb",
                "a\rb",
                "\x1b[2J",
                "\u202eabc",
                "\udcff\udcfe",
                "x" * 200,
                "é" * 100,
                "..png",
            ),
            *(
                "${x}",
                "[a]",
                "{a:1}",
                "~",
                "*",
                "%s",
                "a\\b",
                "\\",
                "null",
                "true",
                "CON",
                "a:b",
                "#x",
            ),
        )
    ),
)


def placed(here: Path, name: str, content: bytes) -> Path | None:
    """Write a file under a name, if the file system takes it."""
    try:
        path = here / name.replace("/", "_").replace("\0", "_")
        if path.name in ("", ".", ".."):
            return None
        path.write_bytes(content)
        return path
    except (OSError, UnicodeEncodeError):
        return None


def scored(box: Sandbox, least: int, most: int) -> None:
    """Check that scores.csv has finite scores, in a number that is possible."""
    with (box.here / "scores.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    require(least <= len(rows) <= most, f"{len(rows)} rows for {least} to {most} images")
    require(all(np.isfinite(float(row["score"])) for row in rows), "a score is not finite")


def test_images_of_commands(case, cats_run, photographs):
    good = (photographs / "val/cat/0.png").read_bytes()
    strange = st.sampled_from(("fifo", "socket", "folder", "zero", "loop", "gone", "null", "self"))
    entries = st.tuples(names, st.sampled_from(ENDS), st.one_of(pictures, strange, st.just(good)))

    def check(given: tuple[list[tuple[str, str, Any]], bool]) -> str:
        files, whole = given
        with case() as box:
            shutil.copytree(cats_run, box.here / "run")
            folder = box.here / "in"
            folder.mkdir()
            if whole:
                (folder / "good.png").write_bytes(good)
            for name, end, content in files:
                if isinstance(content, bytes):
                    placed(folder, name + end, content)
                else:
                    make_strange(folder, f"{content}{end or '.png'}", content)
            count = len(list(folder.iterdir()))
            asked = ("run=run", "input=in", "out=scores.csv")
            return box.call(
                *("innflow-score", *asked),
                may_write=["scores.csv"],
                right=lambda _: scored(box, int(whole), count),
            )

    cases = st.tuples(st.lists(entries, min_size=1, max_size=3), st.booleans())
    explore("folders of images", cases, share(3), check)


def make_strange(folder: Path, name: str, kind: str) -> None:
    """Make something in a folder that has the name of an image and is none."""
    path = folder / name
    if path.exists() or path.is_symlink():
        return
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        here = os.getcwd()
        os.chdir(folder)  # the path of a socket is short
        try:
            with socket.socket(socket.AF_UNIX) as server:
                server.bind(name)
        finally:
            os.chdir(here)
    elif kind == "folder":
        path.mkdir()
    else:
        goals = {"zero": "/dev/zero", "null": "/dev/null", "gone": "nowhere", "self": "."}
        path.symlink_to(goals.get(kind, name))


def test_names(case, moons_run, cats_run, photographs):
    """Of an image, a table, a run folder, and the folder or file that a command writes."""
    good = (photographs / "val/cat/0.png").read_bytes()

    def check(given: tuple[str, str]) -> str:
        role, name = given
        name = name.replace("/", "_").replace("\0", "_")
        with case() as box:
            own = role not in ("image", "folder")
            run = box.here / (name if role == "run" and name not in (".", "..") else "run")
            try:
                shutil.copytree(moons_run if own else cats_run, run)
            except (OSError, UnicodeEncodeError):
                return REFUSED
            ends = {"image": ".png", "table": ".csv", "out": ".csv"}
            typed = os.path.join(*([".", name] if role == "dotted" else [name])) + ends.get(
                role, ""
            )
            path = box.here / typed
            out = "scores.csv"
            source = "p.csv"
            (box.here / source).write_text("a,b\n1,2\n")
            if role in ("image", "folder", "table"):
                content = good if role == "image" else b"a,b\n1,2\n"
                if role == "folder":
                    try:
                        path.mkdir()
                        (path / "x.png").write_bytes(good)
                    except (OSError, UnicodeEncodeError):
                        return REFUSED
                elif placed(box.here, typed, content) is None:
                    return REFUSED
                source = typed
            elif role == "out":
                out = typed
            elif role == "samples":
                asked = (f"run={quoted('run')}", "n=2", f"out={quoted(name)}")
                return box.call("innflow-sample", *asked, may_write=[name])
            asked = (f"run={quoted(run.name)}", f"input={quoted(source)}", f"out={quoted(out)}")

            def right(_: Any) -> None:
                require((box.here / out).is_file(), "wrote no table where it was told to")

            return box.call("innflow-score", *asked, may_write=[out], right=right)

    roles = st.sampled_from(("image", "folder", "table", "run", "out", "samples"))
    explore("names of files and folders", st.tuples(roles, names), share(2), check)
