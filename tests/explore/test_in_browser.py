"""The page in a headless Chromium: each kind of run, without console errors and other hosts."""

from __future__ import annotations

import pytest

from explore.browser import CHROMIUM, explored, opened

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]
TILES = "document.querySelectorAll('.q-tab-panel .tiles img').length"
ROWS = "document.querySelectorAll('.q-tab-panel tbody tr').length"
FITS = "document.documentElement.scrollWidth <= innerWidth"


@pytest.mark.parametrize("width", [390, 1280])
def test_a_run_on_images(image_run, photographs, tmp_path, width):
    with explored(image_run) as address, opened(address, tmp_path, width) as page:
        page.wait(f"{TILES} === 16")
        page.type("number of samples", "5")
        page.click("Draw")
        page.wait(f"{TILES} === 5")
        assert page.run(FITS)
        page.click("Scores")
        page.sees("calibrated on")
        page.upload(0, *(photographs / "val/dog" / f"{i}.png" for i in range(3)))
        page.sees("3 items, the most anomalous first.")
        assert page.run("document.querySelectorAll('tbody img').length") == 6  # with maps
        broken = tmp_path / "broken.png"
        broken.write_bytes(b"no picture")
        page.upload(0, broken)
        page.sees("broken.png: not an image")
        page.click("Directions")
        page.sees("Standard deviations along the components")
        page.click("Morph")
        page.wait(f"{TILES} === 9")
        page.click("test item")
        page.idle()
        page.wait(f"{TILES} === 9")


def test_a_run_on_vectors(vector_run, tmp_path):
    with explored(vector_run) as address, opened(address, tmp_path) as page:
        page.sees("Save samples.csv")
        page.click("Scores")
        page.type("rows, one a line", "0.5,0.25\n3,3\n0,1")
        page.click("Score the rows")
        page.wait(f"{ROWS} === 3")
        page.type("rows, one a line", "0.5")
        page.click("Score the rows")
        page.sees("rows.csv")
        page.click("Directions")
        page.wait(f"{ROWS} === 2")


def test_a_classifier(tmp_path):
    with explored("pretrained:digits8") as address, opened(address, tmp_path) as page:
        page.wait(f"{TILES} === 16")
        page.click("Scores")
        page.click("Score test items of the run")
        page.sees("p(class given x)")


def test_an_inverse_problem(inverse_run, tmp_path):
    with explored(inverse_run) as address, opened(address, tmp_path) as page:
        page.sees("Resimulation of 1,000 draws")
        page.type("end x", "abc")
        page.click("Draw the posterior")
        page.sees("end x: abc is not a number")
        page.type("end x", "1.5")
        page.click("Draw the posterior")
        page.sees("Misspecification p")
