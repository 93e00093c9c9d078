"""The page without a browser: what is computed, files and text of users, and lines for errors."""

from __future__ import annotations

import asyncio
import io
import zipfile

import numpy as np
import pytest
import torch
from nicegui import ui
from nicegui.testing import user_simulation
from PIL import Image

from innflow import Partition, flow
from innflow.app import Generation, Inverse, Unconditional
from innflow.explore.page import build_page, choose_tabs
from innflow.explore.posterior import infer
from innflow.explore.run import Run
from innflow.explore.scores import score_items
from innflow.explore.uploads import parse_numbers, parse_rows, read_pictures


@pytest.fixture
def vectors() -> Run:
    return Run(Unconditional(flow.vector(2, depth=2, hidden=(8,))).eval(), "vectors")


def png(size: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (size, size), "red").save(buffer, "PNG")
    return buffer.getvalue()


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_a_page_draws_and_shows_an_error_as_one_line(vectors):
    async def visit() -> None:
        async with user_simulation(root=lambda: build_page(vectors, choose_tabs(vectors))) as user:
            await user.open("/")
            await user.should_see("Save samples.csv", retries=50)
            user.find("Scores").click()
            await user.should_see("rows, one a line", retries=50)
            user.find(kind=ui.textarea).clear().type("x0,x1\n0.5,abc")
            user.find("Score the rows").click()
            await user.should_see("rows.csv, line 2", retries=50)

    asyncio.run(visit())


def test_rows_are_read_with_and_without_names_and_by_any_separator(vectors):
    expected = torch.tensor([[1.0, 2.0], [3.0, 4.5]])
    for text in ("x0,x1\n1,2\n3,4.5", "1\t2\n3\t4.5\n", " 1 2\n\n3  4.5", "x1;x0\n2;1\n4.5;3"):
        assert torch.equal(parse_rows(vectors.app, text), expected), text


def test_wrong_text_is_refused(vectors, refused):
    with refused("no rows"):
        parse_rows(vectors.app, " \n")
    with refused("rows.csv", "3"):
        parse_rows(vectors.app, "1,2,3")
    with refused("b: blank is not a number"):
        parse_numbers(["1", " "], ["a", "b"])


def test_pictures_come_from_files_and_archives(refused):
    files = {"a/b.png": png(), "a/notes.txt": b"no picture", "__MACOSX/c.png": b"hidden"}
    images, names = read_pictures([("x.zip", zipped(**files)), ("d.png", png(20))], 8, 3)
    assert (images.shape, names) == ((2, 3, 8, 8), ["a/b.png", "d.png"])
    with refused("e.png: not an image"):
        read_pictures([("e.png", b"text")], 8, 3)
    with refused("f.zip: cannot be unpacked"):
        read_pictures([("f.zip", b"text")], 8, 3)
    with refused("no pictures"):
        read_pictures([("g.zip", zipped(a=b""))], 8, 3)
    with refused("501 pictures"):
        read_pictures([("h.zip", zipped(**{f"{i}.png": b"" for i in range(501)}))], 8, 3)


def test_scores_of_pictures_are_those_of_the_run_with_maps():
    run = Run(Generation(flow.glow((3, 8, 8), levels=1, depth=1, hidden=4)).eval(), "images")
    x = torch.randint(0, 256, (3, 3, 8, 8), dtype=torch.uint8)
    found = score_items(run, x)
    np.testing.assert_allclose(found.columns["log p(x), nats"], run.app.log_prob(x), rtol=1e-5)
    assert found.columns["item"] == ["0", "1", "2"]
    assert len(found.maps) == 3
    assert found.maps[0].shape == (3, 8, 8)


def test_a_posterior_is_that_of_the_run():
    partition = Partition({"x": (2,)}, {"z": (2,)}, context={"y": (3,)})
    app = Inverse(flow.vector(2, depth=2, hidden=(8,), context=3), partition).eval()
    app.misspecification.fit(torch.randn(50, 3))
    app.config = {"data": {}}
    y = torch.zeros(3)
    found = infer(Run(app, "inverse"), y, 50, 4, np.zeros(2))
    assert np.array_equal(found.x, app.posterior(y, 50, 4).numpy())
    assert found.rows[0][-1] == 0.0
    assert found.resimulation is None
