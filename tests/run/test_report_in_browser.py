"""The report in a headless Chromium: at two widths, light, dark and on paper, without a request."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"),
]
PROBE = """<script>
for (const head of document.querySelectorAll("th button")) { head.click(); head.click(); }
const tables = [...document.querySelectorAll("table")].filter(
  table => [...table.tHead.rows[0].cells].some(cell => cell.textContent === "p-value"));
const last = tables[0].tBodies[0].rows;
document.documentElement.setAttribute("data-found", JSON.stringify({
  width: document.documentElement.scrollWidth, screen: innerWidth,
  broken: [...document.images].filter(image => !image.naturalWidth).length,
  images: document.images.length,
  p: [...last].map(row => parseFloat(row.cells[row.cells.length - 1].textContent)),
}));
</script></body>"""


def browse(page: Path, folder: Path, *options: str) -> str:
    """Open a page without a display and return the standard output; fail at a console message."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu"]
    command += [f"--user-data-dir={folder / 'profile'}", "--enable-logging=stderr"]
    command += [f"--log-net-log={folder / 'net.json'}", *options, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr, done.stderr
    log = json.loads((folder / "net.json").read_text())
    started = log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    asked = [
        (event.get("params") or {}).get("url", "")
        for event in log["events"]
        if event["type"] == started
    ]
    own = ("file://", "data:", "chrome")
    hosts = "|".join(("google", "gvt1", "chromium"))  # of the browser itself
    assert not [
        url for url in asked if url and not url.startswith(own) and not re.search(hosts, url)
    ]
    return done.stdout


@pytest.mark.parametrize("width", [390, 1280])
def test_a_page_fits_its_width_sorts_and_asks_for_nothing(image_run, tmp_path, width):
    page = tmp_path / "probe.html"
    page.write_text((image_run / "report.html").read_text().replace("</body>", PROBE))
    text = browse(page, tmp_path, f"--window-size={width},900", "--dump-dom")
    found = json.loads(
        re.search('data-found="([^"]*)"', text).group(1).replace("&quot;", '"')  # type: ignore[union-attr]
    )
    assert found["width"] <= found["screen"]
    assert found["broken"] == 0
    assert found["images"] > 50  # thumbnails and maps
    assert found["p"] == sorted(found["p"], reverse=True)


@pytest.mark.parametrize(("scheme", "dark"), [(0, True), (1, False)])
def test_a_page_is_dark_or_light_as_the_reader_wishes(image_run, tmp_path, scheme, dark):
    shot = tmp_path / "shot.png"
    scheme_option = f"--blink-settings=preferredColorScheme={scheme}"
    options = ("--window-size=390,1400", "--hide-scrollbars", scheme_option)
    browse(image_run / "report.html", tmp_path, *options, f"--screenshot={shot}")
    with Image.open(shot) as image:
        grey = np.asarray(image.convert("L")).astype(int)
    background = np.median(grey)
    assert (background < 60) == dark
    assert abs(grey - background).max() > 150  # the text stands out


def test_a_page_can_be_printed(image_run, tmp_path):
    browse(image_run / "report.html", tmp_path, f"--print-to-pdf={tmp_path / 'page.pdf'}")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
