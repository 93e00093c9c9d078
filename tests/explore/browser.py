"""A headless Chromium that is driven by its DevTools protocol, and pages that it opens."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from websockets.sync.client import connect

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SECONDS = 60


class Page:
    """One page; remembers messages of its console and the addresses of its requests."""

    def __init__(self, socket: Any) -> None:
        self.socket, self.count = socket, 0
        self.console: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self.count += 1
        self.socket.send(json.dumps({"id": self.count, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv(timeout=SECONDS))
            if message.get("id") == self.count:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        method, found = message.get("method"), message.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(found["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.requests.append(found["url"])
        elif method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.console.append(json.dumps(found)[:500])

    def run(self, code: str) -> Any:
        """Return the value of a JavaScript expression."""
        found = self.call("Runtime.evaluate", expression=code, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, code: str) -> Any:
        """Return the value of an expression as soon as it is true."""
        end = time.monotonic() + SECONDS
        while not (value := self.run(code)):
            assert time.monotonic() < end, (code, self.console, self.text())
        return value

    def text(self) -> str:
        return str(self.run("document.body?.innerText"))

    def sees(self, text: str) -> None:
        """Wait until the page shows a text."""
        self.wait(f"document.body?.innerText.includes({json.dumps(text)})")

    def idle(self) -> None:
        """Wait until no computation runs."""
        self.wait("!document.querySelector('.busy:not(.quiet)')")

    def click(self, text: str) -> None:
        """Click the button or the tab with a text."""
        found = "[...document.querySelectorAll('button, .q-tab, .q-toggle')]"
        find = f"{found}.find(e => e.innerText.trim() === {json.dumps(text)} && e.offsetParent)"
        self.wait(f"!!{find}")
        self.run(f"{find}.click()")

    def type(self, label: str, text: str) -> None:
        """Replace the content of the visible field with a label."""
        fields = "[...document.querySelectorAll('input, textarea')]"
        find = f"{fields}.find(e => e.ariaLabel === {json.dumps(label)} && e.offsetParent)"
        self.wait(f"!!{find}")
        self.run(f"{find}.focus(), {find}.select()")
        self.call("Input.insertText", text=text)
        self.run(f"{find}.blur()")

    def upload(self, at: int, *files: Path) -> None:
        """Give files to the input of files at a position."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        found = self.call("DOM.querySelectorAll", nodeId=root, selector="input[type=file]")
        paths = [str(file) for file in files]
        self.call("DOM.setFileInputFiles", nodeId=found["nodeIds"][at], files=paths)

    def shoot(self, path: Path) -> None:
        """Write a picture of the page."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))


@contextmanager
def explored(run: Path | str, *arguments: str) -> Iterator[str]:
    """Start innflow-explore, and yield the address of its page."""
    code = "from innflow.command.main import explore; explore()"
    line = [sys.executable, "-c", code, f"run={run}", "port=0", *arguments]
    with subprocess.Popen(line, text=True, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
            process.wait(SECONDS)


@contextmanager
def opened(address: str, folder: Path, width: int = 1280, height: int = 900) -> Iterator[Page]:
    """Open a page in a browser of its own; fail at a console message or a foreign request."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={folder / 'profile'}", f"--window-size={width},{height}"]
    command += ["--remote-debugging-port=0", "about:blank"]
    with subprocess.Popen(command, text=True, stderr=subprocess.PIPE) as process:
        try:
            assert process.stderr is not None
            lines = iter(process.stderr.readline, "")
            port = next(int(f[1]) for line in lines if (f := re.search(r"127.0.0.1:(\d+)/", line)))
            with urlopen(f"http://127.0.0.1:{port}/json") as answer:
                targets = json.load(answer)
            target = next(each for each in targets if each["type"] == "page")
            with connect(target["webSocketDebuggerUrl"], max_size=None) as socket:
                page = Page(socket)
                # Chromium's own windows are at least 500 pixels wide.
                screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
                page.call("Emulation.setDeviceMetricsOverride", **screen)
                page.call("Page.navigate", url=address)
                yield page
                assert not page.console, page.console
                own = (address, address.replace("http:", "ws:"), "data:", "about:", "blob:")
                assert not [url for url in page.requests if not url.startswith(own)]
        finally:
            process.kill()
            process.wait(SECONDS)
