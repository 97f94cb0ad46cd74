"""A headless Chromium, driven over its DevTools protocol with nothing but a WebSocket."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium-headless-shell", "chrome-headless-shell", "chromium", "chromium-browser", "google-chrome", "chrome")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-default-browser-check",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--disable-dev-shm-usage", "--remote-debugging-port=0", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
)  # fmt: skip
_PATIENCE_S = 20.0


def find_chromium() -> str | None:
    """The browser on this machine."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Target:
    """The browser, or one of its tabs: commands in, events out, waited for with a limit."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)

    def do(self, method: str, **parameters: Any) -> dict[str, Any]:
        """A command and its result."""
        number = next(self._numbers)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._connection.recv(timeout=_PATIENCE_S))
            if message.get("id") == number:
                assert "error" not in message, (method, message)
                return message["result"]
            self._note(message)

    def _note(self, event: dict[str, Any]) -> None:
        """Takes an event that comes before the result."""


class Page(Target):
    """One tab."""

    def __init__(self, connection: ClientConnection) -> None:
        super().__init__(connection)
        self.requests: list[str] = []
        """Every address that was asked for."""
        self.complaints: list[str] = []
        """What the console said of errors, and what went wrong outside of it."""
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.do(f"{domain}.enable")

    def _note(self, event: dict[str, Any]) -> None:
        method, found = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(found["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(found["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and found["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(found["args"]))
        elif method == "Log.entryAdded" and found["entry"]["level"] in ("error", "warning"):
            self.complaints.append(str(found["entry"]))

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        found = self.do("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, script: str) -> Any:
        """The value of an expression once it is true."""
        until = time.monotonic() + _PATIENCE_S
        while not (value := self.run(script)):
            assert time.monotonic() < until, (script, self.run("document.body.innerText"), self.complaints)
            time.sleep(0.05)
        return value

    def open(self, address: str, width: int = 1280, height: int = 900, *, dark: bool = False) -> None:
        """Goes to an address in a window of a size."""
        scheme = "dark" if dark else "light"
        self.do("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.resize(width, height)
        self.do("Page.navigate", url=address)
        self.wait_for("document.readyState === 'complete' && document.getElementById('facts').textContent.length > 5")

    def resize(self, width: int, height: int, dense: float = 1) -> None:
        """Gives the window another size, in CSS pixels."""
        self.do(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=dense, mobile=width < 600
        )

    def choose(self, selector: str, file: Path) -> None:
        """Chooses a file, as the dialogue would."""
        root = self.do("DOM.getDocument")["root"]["nodeId"]
        node = self.do("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.do("DOM.setFileInputFiles", files=[str(file)], nodeId=node)

    def drop(self, selector: str, file: Path) -> None:
        """Drags a file from outside and lets it fall, once the page is painted and nothing in it moves any more."""
        self.run("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        x, y = self.middle(selector)
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.do("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def click(self, selector: str) -> None:
        """Clicks with the mouse."""
        x, y = self.middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.do("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def middle(self, selector: str) -> tuple[float, float]:
        """The middle of an element, scrolled into view."""
        script = (
            "(element => { element.scrollIntoView({block: 'center'}); const box = element.getBoundingClientRect();"
            f"return [box.x + box.width / 2, box.y + box.height / 2]; }})(document.querySelector({json.dumps(selector)}))"
        )
        x, y = self.run(script)
        return x, y

    def write(self, selector: str, text: str) -> None:
        """Types a text over what a field holds."""
        self.run(f"(field => {{ field.focus(); field.select(); }})(document.querySelector({json.dumps(selector)}))")
        self.do("Input.insertText", text=text)

    def press(self, key: str, code: int, modifiers: int = 0) -> None:
        """Presses a key and lets it go."""
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for kind in ("keyDown", "keyUp"):
            given = {"text": text} if text and kind == "keyDown" else {}
            self.do("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, modifiers=modifiers, **given)

    def picture(self) -> bytes:
        """The whole page as a PNG."""
        return base64.b64decode(self.do("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"])


@contextmanager
def browser(program: str, folder: Path) -> Generator[str]:
    """A fresh browser, which ends with the block; the address of its WebSocket."""
    with subprocess.Popen(
        [program, *_FLAGS, f"--user-data-dir={folder}", "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield _address(folder, process)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def tab(address: str) -> Generator[Page]:
    """A tab of a browser, with storage and a cache of its own; it ends with the block."""
    host = address.partition("/devtools")[0]
    with connect(address, max_size=None, compression=None) as control:
        browser = Target(control)
        context = browser.do("Target.createBrowserContext")["browserContextId"]
        try:
            name = browser.do("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
            with connect(f"{host}/devtools/page/{name}", max_size=None, compression=None) as connection:
                yield Page(connection)
        finally:
            browser.do("Target.disposeBrowserContext", browserContextId=context)


def _address(folder: Path, process: subprocess.Popen[bytes]) -> str:
    """The address of the browser's WebSocket, once it has started."""
    until, stated = time.monotonic() + _PATIENCE_S, folder / "DevToolsActivePort"
    while time.monotonic() < until and process.poll() is None:
        if stated.is_file() and len(lines := stated.read_text().splitlines()) > 1:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.05)
    raise RuntimeError(f"{process.args} did not start in {_PATIENCE_S:g} s (status {process.poll()})")
