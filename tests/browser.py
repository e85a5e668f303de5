"""A headless Chromium driven over its own protocol: what it logs, what it fetches, what it shows.

Only `websockets` is needed, which viser brings. `KEYFIT_CHROMIUM` names a browser that is not on the PATH.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Software WebGL: no graphics card, no display, no system OpenGL.
FLAGS = (
    "--headless=new", "--no-sandbox", "--remote-debugging-port=0", "--window-size=1280,800", "--hide-scrollbars",
    "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--no-first-run",
)  # fmt: skip


def find_chromium() -> str | None:
    named = os.environ.get("KEYFIT_CHROMIUM")
    return named or next((found for name in NAMES if (found := shutil.which(name))), None)


@dataclass
class Page:
    socket: Any
    number: int = 0
    errors: list[str] = field(default_factory=list)  # console errors and uncaught exceptions
    fetched: list[str] = field(default_factory=list)  # addresses

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv(timeout=60))
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]
            self.hear(message)

    def listen(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                self.hear(json.loads(self.socket.recv(timeout=left)))

    def hear(self, message: dict[str, Any]) -> None:
        method, told = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(told["exceptionDetails"].get("exception", told["exceptionDetails"])))
        elif method == "Runtime.consoleAPICalled" and told["type"] in ("error", "assert"):
            self.errors.append(" ".join(str(part.get("value", part)) for part in told["args"]))
        elif method == "Log.entryAdded" and told["entry"]["level"] == "error":
            self.errors.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.fetched.append(told["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.fetched.append(told["url"])

    def settled(self, part: tuple[slice, slice], seconds: float = 90) -> np.ndarray:
        """The page once a part of it shows something and no longer changes."""
        end, before = time.monotonic() + seconds, np.zeros(0)
        while time.monotonic() < end:
            self.listen(1.0)
            now = self.screenshot()
            if now[part].std() > 10 and before.size and (now[part] == before[part]).all():
                return now
            before = now
        raise AssertionError(f"the page is blank or does not come to rest; console: {self.errors}")

    def open(self, address: str) -> None:
        self.call("Page.navigate", url=address)

    def evaluate(self, script: str) -> Any:
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def screenshot(self) -> np.ndarray:
        content = self.call("Page.captureScreenshot", format="png")["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB"))


@contextlib.contextmanager
def browse(folder: Path) -> Iterator[Page]:
    """A new page; `folder` holds the browser's own files."""
    from websockets.sync.client import connect

    command = [str(find_chromium()), *FLAGS, f"--user-data-dir={folder}", "about:blank"]
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with connect(page_address(folder), max_size=None) as socket:
            page = Page(socket)
            for domain in ("Page", "Runtime", "Log", "Network"):
                page.call(f"{domain}.enable")
            yield page
    finally:
        browser.terminate()
        browser.wait(timeout=30)


def page_address(folder: Path) -> str:
    """Where the page's own protocol is spoken, once the browser has said which port it took."""
    told, end = folder / "DevToolsActivePort", time.monotonic() + 60
    while not (told.is_file() and told.read_text().strip()):
        assert time.monotonic() < end, "Chromium did not start"
        time.sleep(0.1)
    port = told.read_text().split()[0]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=30) as answer:
        pages = json.load(answer)
    return next(page["webSocketDebuggerUrl"] for page in pages if page["type"] == "page")
